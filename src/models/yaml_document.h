// YAML or JSON text as one JSON value; the only file that knows yaml-cpp is its .cc.
//
// Text from outside is bounded before it is built: size, nesting depth, no anchors or aliases (a
// few hundred bytes of them can unfold to gigabytes), no tags, no duplicate keys, one document.
//
// Thread: pure function.
#pragma once

#include <cstddef>
#include <string_view>

#include <boost/json/value.hpp>

#include "base/result.h"

namespace glowplug::models {

inline constexpr std::size_t kDocumentBytesMax = 256 * 1024;
inline constexpr std::size_t kDocumentDepthMax = 16;

// The error's code is manifest_invalid; its message names line and column.
Result<boost::json::value> parse_document(std::string_view text);

}  // namespace glowplug::models
