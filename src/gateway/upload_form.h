// The form of POST /v1/files: which fields it may have, and what they say once all of it has come.
// The parts may come in any order. Thread: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gateway/multipart.h"
#include "queue/file_store.h"

namespace glowplug::gateway {

class UploadForm final {
 public:
  // Takes note of these events, and adds what is of the file's content. Errors are final.
  Result<void> take(const std::vector<PartEvent>& events, std::string& content);

  bool has_file() const { return has_file_; }
  // All has come; `complete` says whether its last boundary has.
  Result<queue::FileWish> finish(bool complete) const;

 private:
  Result<void> begin_part(const PartHead& head);
  Result<void> check_size() const;
  Result<std::optional<Duration>> expiry() const;
  const std::string* value(const std::string& name) const;

  std::map<std::string, std::string> fields_;
  std::string part_;  // whose content comes
  std::string file_name_;
  bool has_file_ = false;
  std::uint64_t file_bytes_ = 0;
};

bool is_file_purpose(std::string_view purpose);
std::string file_purposes();

}  // namespace glowplug::gateway
