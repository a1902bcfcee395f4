// What a day of a workload costs, by the price table:
//
//   requests  = requests per day × fee per request
//   compute   = requests per day × mean time × devices × price per hour
//   total     = their sum
//
// It takes one request at a time: a request pays for all of its devices from its beginning to its
// end, and nothing is paid between requests. A replica that answers several at once costs less.
//
// Rounding: compute is worked out in whole nanoseconds and micro-units and rounded once, at the
// end, to the nearest micro-unit, a half upwards. The fees are exact, and the total is the sum of
// the two amounts as they are shown.
//
// Thread: pure functions. Measures nothing, and prices no call that was made.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/price.h"

namespace glowplug::policy {

struct Workload {
  std::int64_t requests_per_day = 0;  // 0 … domain::kRequestsPerDayMax
  Duration mean_time{};               // of a request; 0 … domain::kMeanRequestMax
  int count = 1;                      // devices that a request occupies; 1 … kDeviceCountMax
};

struct CostEstimate {
  domain::Money daily_request_cost;
  domain::Money daily_compute_cost;
  domain::Money total_daily_cost;
  friend bool operator==(const CostEstimate&, const CostEstimate&) = default;
};

// The row of `device`; the error names the devices that have one.
Result<domain::DevicePrice> price_of(const domain::PriceTable& prices, std::string_view device);

// An error where the sum is more than can be counted: 9.2 × 10^12 units a day.
Result<CostEstimate> estimate_cost(const domain::Price& price, const Workload& workload);

}  // namespace glowplug::policy
