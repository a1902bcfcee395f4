// A device: what a replica runs on and whose memory it takes. An accelerator, found on this machine
// or declared in the settings, or the machine itself, whose type is CPU.
//
// Types are the devices of domain/price.h, compared without case like them. Settings name a row of
// `count` alike; each_alone() makes one device of each, with the name that people and manifests
// use: A10G:0, A10G:1. There is one CPU at most, and it has no number.
//
// Thread: values.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "domain/price.h"

namespace glowplug::domain {

inline constexpr std::size_t kDevicesMax = 10'000;                         // declared
inline constexpr std::uint64_t kDeviceMemoryMax = std::uint64_t{1} << 50;  // of one

// Declared: for planning and tests. What is placed there runs on this machine all the same.
enum class DeviceOrigin { Found, Declared };
// Quarantined: starts on it failed, and it gets none for a while. OnTrial: that is over, and one
// start may try.
enum class DeviceHealth { Healthy, OnTrial, Quarantined };

constexpr std::string_view to_string(DeviceOrigin origin) {
  return origin == DeviceOrigin::Found ? "found" : "declared";
}
constexpr std::string_view to_string(DeviceHealth health) {
  return health == DeviceHealth::Healthy   ? "healthy"
         : health == DeviceHealth::OnTrial ? "on trial"
                                           : "quarantined";
}

struct Device {
  std::string name;  // of the row; of one alone with its number
  std::string type;
  std::uint64_t memory_bytes = 0;  // of each
  int count = 1;
  DeviceOrigin origin = DeviceOrigin::Declared;
  std::optional<int> numa_node = {};  // that it is nearest to
  std::string uuid = {};              // by which its driver knows it
  bool is_cpu() const { return same_device(type, kCpu); }
  friend bool operator==(const Device&, const Device&) = default;
};

// A device's place in the list that each_alone() made, which does not change while a server runs.
struct DeviceId {
  std::size_t value = 0;
  friend auto operator<=>(const DeviceId&, const DeviceId&) = default;
};

// Rows of the same name go on counting.
inline std::vector<Device> each_alone(const std::vector<Device>& rows) {
  std::vector<Device> fleet;
  std::map<std::string, int> numbers;
  for (const Device& row : rows) {
    for (int i = 0; i < row.count; ++i) {
      fleet.push_back(row);
      fleet.back().count = 1;
      if (!row.is_cpu()) fleet.back().name += ":" + std::to_string(numbers[row.name]++);
    }
  }
  return fleet;
}

// What a type has where nobody says otherwise; nothing for a type that is not known.
inline std::optional<std::uint64_t> usual_memory(std::string_view type) {
  constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
  if (same_device(type, kT4)) return 16 * kGiB;
  if (same_device(type, kA10G)) return 24 * kGiB;
  if (same_device(type, kA100)) return 40 * kGiB;
  return std::nullopt;
}

}  // namespace glowplug::domain
