// A whole file as text, also of /proc and of cgroups, whose size nobody knows beforehand.
//
// A read that fails is an answer: of a process that ends between open and read the kernel says
// ESRCH, and the standard library's streams would throw.
//
// Thread: any.
#pragma once

#include <optional>
#include <string>

namespace glowplug {

// Nothing when it cannot be opened or read to its end.
[[nodiscard]] std::optional<std::string> read_file(const std::string& path);

// The same where nothing to read is as good as an empty file.
[[nodiscard]] inline std::string read_text(const std::string& path) {
  return read_file(path).value_or("");
}

}  // namespace glowplug
