#include "policy/cost.h"

#include <limits>
#include <optional>
#include <string>

#include "base/units.h"
#include "domain/errors.h"

namespace glowplug::policy {
namespace {

using domain::Money;
__extension__ using Wide = unsigned __int128;

constexpr Wide kMicrosMax = std::numeric_limits<std::int64_t>::max();
constexpr Wide kNanosecondsPerHour =
    static_cast<Wide>(std::chrono::nanoseconds(std::chrono::hours(1)).count());

// Of no negative factors. What overflows 128 bits is far beyond an amount, also after the division.
std::optional<Wide> product(std::initializer_list<std::int64_t> factors) {
  Wide all = 1;
  for (const std::int64_t factor : factors) {
    GLOWPLUG_ASSERT(factor >= 0);
    if (__builtin_mul_overflow(all, static_cast<Wide>(factor), &all)) return std::nullopt;
  }
  return all;
}

std::optional<Money> counted(std::optional<Wide> micros) {
  if (!micros || *micros > kMicrosMax) return std::nullopt;
  return Money{static_cast<std::int64_t>(*micros)};
}

std::optional<Wide> divided_half_up(std::optional<Wide> dividend, Wide divisor) {
  if (!dividend) return std::nullopt;
  return *dividend / divisor + (*dividend % divisor >= divisor - divisor / 2 ? 1 : 0);
}

}  // namespace

Result<domain::DevicePrice> price_of(const domain::PriceTable& prices, std::string_view device) {
  if (const domain::DevicePrice* row = domain::find_price(prices, device)) return *row;
  // What is no name at all is not repeated: it may be anything.
  const std::string asked = domain::is_device_name(device)
                                ? "is \"" + std::string(device) + "\", which has no price"
                                : "names no device";
  std::string known;
  for (const domain::DevicePrice& row : prices) known += (known.empty() ? "" : ", ") + row.device;
  return Error{std::string(domain::error::kInvalidValue),
               "`gpu` " + asked + "; those with a price are " + known +
                   ". Others are added under `prices` in the server's settings.",
               "gpu"};
}

Result<CostEstimate> estimate_cost(const domain::Price& price, const Workload& workload) {
  const auto requests = counted(product({workload.requests_per_day, price.per_request.micros}));
  const auto compute =
      counted(divided_half_up(product({workload.requests_per_day, workload.mean_time.count(),
                                       workload.count, price.per_hour.micros}),
                              kNanosecondsPerHour));
  Money total;
  if (!requests || !compute ||
      __builtin_add_overflow(requests->micros, compute->micros, &total.micros))
    return Error{std::string(domain::error::kInvalidValue),
                 "`requests_per_day` costs more than " +
                     format_micros(std::numeric_limits<std::int64_t>::max()) +
                     " a day with these `seconds` and this `count`, which is the most that is "
                     "counted; lower one of them.",
                 "requests_per_day"};
  return CostEstimate{*requests, *compute, total};
}

}  // namespace glowplug::policy
