// Reading what a user points at: a file, or standard input until its end or Ctrl-C.
// Thread: blocks the caller; owns nothing.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace glowplug::cli {

Result<std::string> read_file(const std::string& path);

struct Input {
  int fd = 0;
  int cancel_fd = -1;
};
Result<std::string> read_all(const Input& input);

// Reads lines from a terminal. nullopt: end of input or Ctrl-C.
class LineReader final {
 public:
  explicit LineReader(Input input) : input_(input) {}
  std::optional<std::string> next();

 private:
  Input input_;
  std::string buffered_;
};

}  // namespace glowplug::cli
