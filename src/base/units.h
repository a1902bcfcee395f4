// Durations, byte counts and money as people write them, and back.
//
// parse_duration reads the grammar that Ollama's keep_alive has: "300ms", "10s", "1h30m", a bare
// number of seconds, "0"; a negative value means forever and comes back as kForever. parse_bytes
// reads "24GiB", "512MB", "4096" (GB = 10^9, GiB = 2^30). format_bytes prints 94.3 MB;
// format_duration prints 8.4 ms, 1.2 s, 5m. Money is counted in whole micro-units (1'000'000 of
// them are one unit); format_micros prints all six decimals, 0.000200, which is a number in JSON
// too.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time_types.h"

namespace glowplug {

inline constexpr Duration kForever = Duration::max();

std::optional<Duration> parse_duration(std::string_view text);
std::optional<std::uint64_t> parse_bytes(std::string_view text);
std::string format_bytes(std::uint64_t bytes);
std::string format_duration(Duration duration);

// Nothing when it is below zero, is no whole number of micro-units, or is too large to be read to
// the micro-unit.
std::optional<std::int64_t> micros_of(double units);
// Of a text such as 2.5: digits, and a point with one to six more; nothing else.
std::optional<std::int64_t> parse_micros(std::string_view text);
std::string format_micros(std::int64_t micros);

}  // namespace glowplug
