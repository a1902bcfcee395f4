// What a device costs: by the hour, and a fee for each request. Money has no currency here; it is
// whatever the price table is written in, counted in whole micro-units so that nothing drifts.
//
// A device's name is compared without case. What uses prices takes the table as an argument.
// Thread: values.
#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "domain/limits.h"

namespace glowplug::domain {

struct Money {
  std::int64_t micros = 0;
  friend auto operator<=>(const Money&, const Money&) = default;
};

struct Price {
  Money per_hour;
  Money per_request;
  friend bool operator==(const Price&, const Price&) = default;
};

struct DevicePrice {
  std::string device;
  Price price;
  friend bool operator==(const DevicePrice&, const DevicePrice&) = default;
};

using PriceTable = std::vector<DevicePrice>;  // each device once

// The types of device that are priced, and told apart, without a setting.
inline constexpr std::string_view kT4 = "T4", kA10G = "A10G", kA100 = "A100", kCpu = "CPU";

// 0.5, 1.0 and 3.0 an hour; 0.0001, 0.0002 and 0.0005 a request. The row of the CPU is Glowplug's
// own: a twentieth of an A10G.
inline PriceTable default_prices() {
  return {{std::string(kT4), {.per_hour = {500'000}, .per_request = {100}}},
          {std::string(kA10G), {.per_hour = {1'000'000}, .per_request = {200}}},
          {std::string(kA100), {.per_hour = {3'000'000}, .per_request = {500}}},
          {std::string(kCpu), {.per_hour = {50'000}, .per_request = {10}}}};
}

inline bool same_device(std::string_view a, std::string_view b) {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

// Null when there is none; valid as long as the table is not changed.
inline const DevicePrice* find_price(const PriceTable& prices, std::string_view device) {
  const auto found = std::find_if(prices.begin(), prices.end(), [&](const DevicePrice& row) {
    return same_device(row.device, device);
  });
  return found == prices.end() ? nullptr : &*found;
}

// Letters, digits, dots, underlines and dashes, so that it needs no quoting anywhere.
inline bool is_device_name(std::string_view name) {
  return !name.empty() && name.size() <= kDeviceNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

}  // namespace glowplug::domain
