// What a manifest's resources.device asks for: "auto", "cpu", "gpu" (any accelerator), a type or a
// row's name, with a number ("A10G:1", of all accelerators "gpu:1") or with how many of them hold
// one replica together ("A100 x2"). Names are compared without case.
//
// Thread: a value, and a pure function.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "domain/limits.h"
#include "domain/price.h"

namespace glowplug::domain {

struct DeviceWish {
  std::string name;           // empty: auto
  std::optional<int> number;  // one of them
  std::optional<int> count;   // that hold it together; 2 and more
  bool is_auto() const { return name.empty(); }
  bool is_gpu() const { return same_device(name, "gpu"); }
  friend bool operator==(const DeviceWish&, const DeviceWish&) = default;
};

inline std::optional<int> parse_device_number(std::string_view digits) {
  if (digits.empty() || digits.size() > 4) return std::nullopt;
  int number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + (c - '0');
  }
  return number;
}

// Nothing where the text is none of these.
inline std::optional<DeviceWish> parse_device_wish(std::string_view text) {
  DeviceWish wish;
  const std::size_t end = text.find_first_of(": ");
  const std::string_view name = text.substr(0, end);
  if (!is_device_name(name)) return std::nullopt;
  if (end != std::string_view::npos) {
    const bool is_count = text[end] == ' ';
    std::string_view rest = text.substr(end + 1);
    if (is_count && !rest.starts_with('x')) return std::nullopt;
    if (is_count) rest.remove_prefix(1);
    const std::optional<int> number = parse_device_number(rest);
    if (!number || (is_count && (*number < 1 || *number > kDeviceCountMax))) return std::nullopt;
    if (is_count && *number > 1) wish.count = number;
    if (!is_count) wish.number = number;
  }
  const bool takes_number = !same_device(name, "auto") && !same_device(name, kCpu);
  if (end != std::string_view::npos && !takes_number) return std::nullopt;
  if (same_device(name, "auto")) return wish;
  wish.name = same_device(name, "cuda") ? "gpu" : std::string(name);
  return wish;
}

}  // namespace glowplug::domain
