#include "policy/cost.h"

#include <chrono>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::kDeviceCountMax;
using domain::kMeanRequestMax;
using domain::kRequestsPerDayMax;
using domain::Money;
using domain::Price;

constexpr std::int64_t kAmountMax = std::numeric_limits<std::int64_t>::max();

Price price(const char* device) { return price_of(domain::default_prices(), device)->price; }

TEST(DefaultPrices, AreTheTable) {
  EXPECT_EQ(price("T4"), (Price{{500'000}, {100}}));
  EXPECT_EQ(price("A10G"), (Price{{1'000'000}, {200}}));
  EXPECT_EQ(price("A100"), (Price{{3'000'000}, {500}}));
  EXPECT_EQ(price("CPU"), (Price{{50'000}, {10}}));
  EXPECT_EQ(domain::default_prices().size(), 4u);
}

TEST(PriceOf, NameIsComparedWithoutCaseAndComesBackAsInTheTable) {
  EXPECT_EQ(price_of(domain::default_prices(), "a10g")->device, "A10G");
  EXPECT_EQ(price_of(domain::default_prices(), "Cpu")->device, "CPU");
}

TEST(PriceOf, UnknownDevice_IsAnErrorWithThoseThatHaveAPrice) {
  for (const char* device : {"H100", "", "A10", "A10GG", "T4 ", "\"\n", "\xff\xfe"}) {
    const auto found = price_of(domain::default_prices(), device);
    ASSERT_FALSE(found.ok()) << device;
    EXPECT_EQ(found.error().code, "invalid_value");
    EXPECT_EQ(found.error().param, "gpu");
    EXPECT_NE(found.error().message.find("T4, A10G, A100, CPU"), std::string::npos);
  }
  EXPECT_EQ(price_of(domain::default_prices(), "H100").error().message,
            "`gpu` is \"H100\", which has no price; those with a price are T4, A10G, A100, CPU. "
            "Others are added under `prices` in the server's settings.");
  EXPECT_EQ(price_of(domain::default_prices(), "\xff").error().message.find('\xff'),
            std::string::npos);
}

// requests a day, time of each, devices, their price → fees, compute; in micro-units
struct Case {
  std::int64_t requests;
  Duration time;
  int count;
  Price price;
  std::int64_t fees, compute;
};

TEST(EstimateCost, Table) {
  const Price t4 = price("T4"), a10g = price("A10G"), a100 = price("A100"), cpu = price("CPU");
  for (const Case& one : std::vector<Case>{
           {20'000, 1200ms, 1, a10g, 4'000'000, 6'666'667},  // 24,000 s = 6.666… hours
           {20'000, 1200ms, 1, t4, 2'000'000, 3'333'333},
           {20'000, 1200ms, 1, a100, 10'000'000, 20'000'000},
           {20'000, 1200ms, 2, a100, 10'000'000, 40'000'000},  // fees are by request, not by device
           {20'000, 1200ms, 1, cpu, 200'000, 333'333},
           {3'600, 1s, 1, a10g, 720'000, 1'000'000},
           {1, 24h, 1, t4, 100, 12'000'000},
           // nothing
           {0, 1s, 1, a100, 0, 0},
           {0, 0s, 1, a100, 0, 0},
           {0, 24h, kDeviceCountMax, a100, 0, 0},
           {5, 0s, 1, a100, 2'500, 0},
           {5, 24h, 1000, {{0}, {0}}, 0, 0},
           // fractions of a second, down to the nanosecond
           {1'000'000'000'000, 1ns, 1, a10g, 200'000'000'000'000, 277'778},
           {1'000, 333'333'333ns, 1, a10g, 200'000, 92'593},
           {3, 100ms, 1, a10g, 600, 83},
           // one below, at and above a half of a micro-unit: 3.6 ms on a T4 are exactly that
           {1, 3'599'999ns, 1, t4, 100, 0},
           {1, 3'600'000ns, 1, t4, 100, 1},
           {1, 10'799'999ns, 1, t4, 100, 1},
           {1, 10'800'000ns, 1, t4, 100, 2},
           {1, 1ns, 1, {{1}, {1}}, 1, 0},
           // as many and as long as may be asked
           {kRequestsPerDayMax, kMeanRequestMax, 1, {{384}, {0}}, 0, 9'216'000'000'000'000}}) {
    const auto made = estimate_cost(
        one.price, {.requests_per_day = one.requests, .mean_time = one.time, .count = one.count});
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_EQ(*made, (CostEstimate{{one.fees}, {one.compute}, {one.fees + one.compute}}))
        << one.requests << " requests of " << one.time.count()
        << " ns: " << made->daily_request_cost.micros << " and " << made->daily_compute_cost.micros;
  }
}

TEST(EstimateCost, RoundsOnceAtTheEnd_SoThatManySmallOnesDoNotDrift) {
  // Each request is a third of a micro-unit: rounded one by one, all of them would be nothing.
  const Price third{{1'200'000}, {0}};
  for (std::int64_t requests = 1; requests <= 3'000; ++requests) {
    const auto made = estimate_cost(third, {.requests_per_day = requests, .mean_time = 1ms});
    EXPECT_EQ(made->daily_compute_cost.micros, (2 * requests + 3) / 6) << requests;
  }
}

TEST(EstimateCost, DoubledRequestsCostTwiceWithinTheRounding) {
  for (std::int64_t requests = 1; requests < kRequestsPerDayMax / 4; requests = requests * 3 + 1) {
    const auto at = [&](std::int64_t n) {
      return *estimate_cost(price("A10G"), {.requests_per_day = n, .mean_time = 777'777'777ns});
    };
    const CostEstimate one = at(requests), two = at(2 * requests);
    EXPECT_EQ(two.daily_request_cost.micros, 2 * one.daily_request_cost.micros);
    EXPECT_LE(std::abs(two.daily_compute_cost.micros - 2 * one.daily_compute_cost.micros), 1);
    EXPECT_GE(two.daily_compute_cost, one.daily_compute_cost);
  }
}

TEST(EstimateCost, LargestAmountThatIsCounted_IsTheLast) {
  const Price hourly{{1'000'000}, {0}}, fee{{0}, {kAmountMax / kRequestsPerDayMax}};
  // 3,600 requests of 1 s are one hour, so the amount is the price of an hour.
  const Workload hour{.requests_per_day = 3'600, .mean_time = 1s};
  EXPECT_EQ(estimate_cost({{kAmountMax}, {0}}, hour)->total_daily_cost.micros, kAmountMax);
  EXPECT_EQ(estimate_cost({{0}, {kAmountMax}}, {.requests_per_day = 1})->total_daily_cost.micros,
            kAmountMax);
  EXPECT_TRUE(estimate_cost(hourly, {.requests_per_day = kRequestsPerDayMax}).ok());
  EXPECT_TRUE(estimate_cost(fee, {.requests_per_day = kRequestsPerDayMax}).ok());
  for (const auto& [price, workload] : std::vector<std::pair<Price, Workload>>{
           {{{kAmountMax}, {0}}, {.requests_per_day = 3'601, .mean_time = 1s}},
           {{{0}, {kAmountMax}}, {.requests_per_day = 2}},
           {{{kAmountMax - 1}, {1}}, {.requests_per_day = 3'600, .mean_time = 1s}},  // the sum
           {{{kAmountMax}, {kAmountMax}},  // beyond 128 bits
            {.requests_per_day = kAmountMax, .mean_time = kMeanRequestMax, .count = 1'000}},
           {{{1'000'000'000'000}, {1'000'000'000'000}},
            {.requests_per_day = kRequestsPerDayMax,
            .mean_time = kMeanRequestMax,
            .count = kDeviceCountMax}}}) {
    const auto refused = estimate_cost(price, workload);
    ASSERT_FALSE(refused.ok()) << refused->total_daily_cost.micros;
    EXPECT_EQ(refused.error().code, "invalid_value");
    EXPECT_EQ(refused.error().param, "requests_per_day");
    EXPECT_NE(refused.error().message.find("9223372036854.775807 a day"), std::string::npos);
  }
}

TEST(EstimateCost, SameTwice_IsTheSame) {
  const Workload workload{.requests_per_day = 123'457, .mean_time = 333'333'333ns, .count = 3};
  EXPECT_EQ(*estimate_cost(price("A100"), workload), *estimate_cost(price("A100"), workload));
}

TEST(DeviceName, IsPlain) {
  for (const char* name : {"T4", "a100-80gb", "MI300X", "L40_S", "v1.5"})
    EXPECT_TRUE(domain::is_device_name(name)) << name;
  for (const std::string& name : {std::string(), std::string("a b"), std::string("é"),
                                  std::string("\""), std::string(33, 'a')})
    EXPECT_FALSE(domain::is_device_name(name)) << name;
}

}  // namespace
}  // namespace glowplug::policy
