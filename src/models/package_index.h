// Finds a Python wheel in a package index, the way pip does: PEP 691 JSON or PEP 503 HTML.
//
// Thread: pure functions, apart from the environment and pip's configuration files, which
// index_urls reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/model_source.h"

namespace glowplug::models {

struct WheelLink {
  std::string url;
  std::string sha256;       // as the index promises; empty when it does not
  std::uint64_t bytes = 0;  // 0 = not told
};

// Where to ask, in order: `given`, PIP_INDEX_URL or pip's configuration, else the public index;
// then the extra ones.
std::vector<std::string> index_urls(const std::string& given);

std::string package_page(const std::string& index_url, const std::string& package);

// Reads a page of the index; `page_url` is what relative links refer to.
Result<WheelLink> find_wheel(std::string_view page, const std::string& page_url,
                             const WheelName& wheel);

}  // namespace glowplug::models
