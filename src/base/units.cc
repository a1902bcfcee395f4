#include "base/units.h"

#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace glowplug {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// Longest names first where one is the beginning of another.
constexpr std::array kTimeUnits{Unit{"ns", 1},     Unit{"us", 1e3}, Unit{"ms", 1e6},
                                Unit{"s", 1e9},    Unit{"m", 60e9}, Unit{"h", 3600e9},
                                Unit{"d", 86400e9}};
constexpr std::array kByteUnits{Unit{"", 1},
                                Unit{"B", 1},
                                Unit{"kB", 1e3},
                                Unit{"KB", 1e3},
                                Unit{"MB", 1e6},
                                Unit{"GB", 1e9},
                                Unit{"TB", 1e12},
                                Unit{"KiB", 1024.0},
                                Unit{"MiB", 1048576.0},
                                Unit{"GiB", 1073741824.0},
                                Unit{"TiB", 1099511627776.0}};

// Reads a non-negative decimal number and moves `text` behind it; from_chars takes "nan" and "inf"
// for numbers too.
std::optional<double> take_number(std::string_view& text) {
  double value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || end == text.data() || value < 0 || !std::isfinite(value))
    return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::string_view take_letters(std::string_view& text) {
  std::size_t n = 0;
  while (n < text.size() &&
         ((text[n] >= 'a' && text[n] <= 'z') || (text[n] >= 'A' && text[n] <= 'Z')))
    ++n;
  const std::string_view letters = text.substr(0, n);
  text.remove_prefix(n);
  return letters;
}

template <std::size_t N>
std::optional<double> factor_of(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units)
    if (unit.name == name) return unit.factor;
  return std::nullopt;
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  double total_ns = 0;
  bool any = false;
  while (!text.empty()) {
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    const std::string_view name = take_letters(text);
    if (name.empty() && (any || !text.empty()))
      return std::nullopt;  // "1h30" and "5 s" are not durations
    const auto factor = name.empty() ? 1e9 : factor_of(kTimeUnits, name);
    if (!factor) return std::nullopt;
    total_ns += *number * *factor;
    any = true;
  }
  if (!any) return std::nullopt;
  if (negative && total_ns > 0) return kForever;
  if (total_ns >= 9.2e18) return std::nullopt;
  return Duration(std::llround(total_ns));
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  const auto factor = factor_of(kByteUnits, text);
  if (!factor || *number * *factor >= 1.8e19) return std::nullopt;
  return static_cast<std::uint64_t>(*number * *factor);
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array names{"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < names.size()) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, names[unit]);
}

std::string format_duration(Duration duration) {
  if (duration == kForever) return "forever";
  const double seconds = to_seconds(duration);
  if (seconds < 1) return fmt::format("{:.1f} ms", seconds * 1e3);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const long whole = std::lround(seconds);
  if (whole < 3600)
    return whole % 60 ? fmt::format("{}m{}s", whole / 60, whole % 60)
                      : fmt::format("{}m", whole / 60);
  return whole % 3600 ? fmt::format("{}h{}m", whole / 3600, whole / 60 % 60)
                      : fmt::format("{}h", whole / 3600);
}

std::optional<std::int64_t> micros_of(double units) {
  constexpr double kUnitsMax = 1e7;     // up to it a double tells a tenth of a micro-unit
  constexpr double kReadError = 4e-15;  // a reader and the product may be wrong in the last bits
  if (!(units >= 0 && units <= kUnitsMax)) return std::nullopt;
  const double micros = units * 1e6;
  const double whole = std::round(micros);
  if (std::abs(micros - whole) > whole * kReadError) return std::nullopt;
  return static_cast<std::int64_t>(whole);
}

std::optional<std::int64_t> parse_micros(std::string_view text) {
  const auto read = [](std::string_view digits) -> std::optional<std::int64_t> {
    std::int64_t number = 0;
    const char* const end = digits.data() + digits.size();
    const bool all_digits = digits.find_first_not_of("0123456789") == std::string_view::npos;
    const auto [stop, code] = std::from_chars(digits.data(), end, number);
    return all_digits && code == std::errc() && stop == end ? std::optional(number) : std::nullopt;
  };
  const std::size_t point = text.find('.');
  const auto units = read(text.substr(0, point));
  std::string decimals =
      point == std::string_view::npos ? "0" : std::string(text.substr(point + 1));
  if (!units || decimals.empty() || decimals.size() > 6) return std::nullopt;
  decimals.resize(6, '0');
  const auto rest = read(decimals);
  std::int64_t micros = 0;
  if (!rest || __builtin_mul_overflow(*units, 1'000'000, &micros) ||
      __builtin_add_overflow(micros, *rest, &micros))
    return std::nullopt;
  return micros;
}

std::string format_micros(std::int64_t micros) {
  const auto size = micros < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(micros)
                               : static_cast<std::uint64_t>(micros);
  return fmt::format("{}{}.{:06}", micros < 0 ? "-" : "", size / 1'000'000, size % 1'000'000);
}

}  // namespace glowplug
