// Small text helpers: header names, manifest lines and file stems are compared without case and
// padding; moments are shown by their time of day. Thread: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

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

// In UTC, from milliseconds since 1970.
inline std::string time_of_day(std::int64_t at_ms) {
  constexpr std::int64_t kDayMs = 86'400'000;
  const std::int64_t ms = at_ms % kDayMs;
  return fmt::format("{:02}:{:02}:{:02}.{:03}", ms / 3'600'000, ms / 60'000 % 60, ms / 1000 % 60,
                     ms % 1000);
}

}  // namespace glowplug::cli
