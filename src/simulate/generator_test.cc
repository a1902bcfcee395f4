#include "simulate/generator.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "domain/limits.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

std::vector<Request> all_of(const Traffic& traffic) {
  auto source = make_generator(traffic);
  EXPECT_TRUE(source.ok());
  std::vector<Request> requests;
  while (true) {
    const auto next = (*source)->next();
    EXPECT_TRUE(next.ok());
    if (!*next) return requests;
    requests.push_back(**next);
  }
}

std::vector<int> per_span(const std::vector<Request>& requests, Duration span, Duration length) {
  std::vector<int> counts(static_cast<std::size_t>(length / span));
  for (const Request& one : requests) ++counts.at(static_cast<std::size_t>(one.at / span));
  return counts;
}

class Kinds : public ::testing::TestWithParam<TrafficKind> {};

TEST_P(Kinds, Calls_ComeInOrderAtTheirRateAndAreThoseOfTheSeed) {
  Traffic traffic{.kind = GetParam(),
                  .functions = 20,
                  .tenants = 3,
                  .requests_per_s = 2,
                  .length = 6h,
                  .day = 1h,
                  .period = 7s};
  const std::vector<Request> requests = all_of(traffic);
  EXPECT_TRUE(std::is_sorted(requests.begin(), requests.end(),
                             [](const Request& a, const Request& b) { return a.at < b.at; }));
  EXPECT_NEAR(static_cast<double>(requests.size()), 2 * 6 * 3600, 2 * 6 * 3600 * 0.2);
  EXPECT_EQ(all_of(traffic), requests);
  for (const Request& one : requests) {
    EXPECT_LT(one.function, 20u);
    EXPECT_LT(one.tenant, 3u);
    EXPECT_GE(one.prompt_tokens, 1);
    EXPECT_LE(one.prompt_tokens, traffic.prompt.most);
  }
  traffic.seed = 2;
  EXPECT_NE(all_of(traffic), requests);
}

INSTANTIATE_TEST_SUITE_P(All, Kinds,
                         ::testing::Values(TrafficKind::Poisson, TrafficKind::Bursts,
                                           TrafficKind::Diurnal, TrafficKind::Periodic));

TEST(Generator, Bursts_AreManyTimesTheRestAndDiurnalGoesUpAndDown) {
  const auto spread = [](TrafficKind kind) {
    const auto counts =
        per_span(all_of({.kind = kind, .requests_per_s = 2, .length = 4h, .day = 4h}), 60s, 4h);
    return *std::max_element(counts.begin(), counts.end());
  };
  EXPECT_GT(spread(TrafficKind::Bursts), 2 * spread(TrafficKind::Poisson));
  const auto day = per_span(
      all_of({.kind = TrafficKind::Diurnal, .requests_per_s = 2, .length = 4h, .day = 4h}), 1h, 4h);
  EXPECT_GT(day[1], 3 * day[0]);
  EXPECT_GT(day[2], 3 * day[3]);
}

TEST(Generator, Periodic_KeepsEachFunctionsPeriod) {
  const auto requests = all_of({.kind = TrafficKind::Periodic,
                                .functions = 1,
                                .length = 1h,
                                .period = 10s,
                                .period_jitter = 0});
  ASSERT_GT(requests.size(), 100u);
  const Duration period = requests[1].at - requests[0].at;
  EXPECT_GE(period, 10s);
  EXPECT_LE(period, 20s);
  for (std::size_t i = 1; i < requests.size(); ++i)
    EXPECT_EQ(requests[i].at - requests[i - 1].at, period);
}

TEST(Generator, RequestsMax_EndsIt) {
  EXPECT_EQ(all_of({.requests_per_s = 100, .requests_max = 17}).size(), 17u);
}

TEST(Generator, FieldOutOfRange_IsNamed) {
  const struct {
    Traffic traffic;
    const char* field;
  } cases[] = {
      {{.functions = 0}, "functions"},
      {{.functions = domain::kFunctionsMax + 1}, "functions"},
      {{.zipf = -1}, "zipf"},
      {{.requests_per_s = 0}, "rate"},
      {{.requests_per_s = std::nan("")}, "rate"},
      {{.length = -1s}, "length"},
      {{.prompt = {.median = 0}}, "prompt-tokens"},
      {{.output = {.median = 1, .most = 0}}, "output-tokens"},
      {{.burst_factor = 0.5}, "burst-factor"},
      {{.low = 2}, "low"},
  };
  for (const auto& [traffic, field] : cases) {
    const auto made = make_generator(traffic);
    ASSERT_FALSE(made.ok()) << field;
    EXPECT_EQ(made.error().param, field);
    EXPECT_THAT(made.error().message, HasSubstr(field));
  }
}

TEST(Generator, Kinds_HaveNames) {
  for (const char* name : {"poisson", "bursts", "diurnal", "periodic"})
    EXPECT_EQ(to_string(*traffic_kind_named(name)), name);
  EXPECT_FALSE(traffic_kind_named("steady"));
}

}  // namespace
}  // namespace glowplug::simulate
