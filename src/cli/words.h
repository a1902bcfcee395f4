// Small ASCII text helpers: header names, manifest lines and file stems are compared without case
// and padding. Thread: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace glowplug::cli {

inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

// Without blanks, tabs and carriage returns at either end.
inline std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace glowplug::cli
