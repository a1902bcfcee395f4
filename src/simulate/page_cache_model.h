// Which model files the page cache of a simulated machine holds whole: the last used ones, as many
// as fit. Thread: one owner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace glowplug::simulate {

class PageCacheModel final {
 public:
  explicit PageCacheModel(std::uint64_t bytes) : bytes_(bytes) {}

  bool holds(const std::string& file) const {
    return std::any_of(files_.begin(), files_.end(),
                       [&file](const auto& one) { return one.first == file; });
  }
  void use(const std::string& file, std::uint64_t bytes) {
    drop(file);
    if (bytes > bytes_) return;
    files_.emplace_back(file, bytes);
    held_ += bytes;
    while (held_ > bytes_) {
      held_ -= files_.front().second;
      files_.pop_front();
    }
  }
  void drop(const std::string& file) {
    std::erase_if(files_, [this, &file](const auto& one) {
      if (one.first != file) return false;
      held_ -= one.second;
      return true;
    });
  }

 private:
  std::uint64_t bytes_, held_ = 0;
  std::deque<std::pair<std::string, std::uint64_t>> files_;  // the least lately used first
};

}  // namespace glowplug::simulate
