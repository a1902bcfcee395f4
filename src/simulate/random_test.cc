#include "simulate/random.h"

#include <cmath>

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

constexpr int kDraws = 200'000;

template <typename Draw>
std::pair<double, double> mean_and_variance(const Draw& draw) {
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double drawn = draw();
    sum += drawn;
    squares += drawn * drawn;
  }
  const double mean = sum / kDraws;
  return {mean, squares / kDraws - mean * mean};
}

TEST(Random, SameSeed_SameNumbers) {
  Random a(42), b(42), other(43);
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t drawn = a.bits();
    EXPECT_EQ(drawn, b.bits());
    EXPECT_NE(drawn, other.bits());
  }
}

// The published test vector of xoshiro256** needs its state set by hand; this pins our seeding.
TEST(Random, SeedOne_IsPinned) {
  Random random(1);
  EXPECT_EQ(random.bits(), 0xb3f2af6d0fc710c5U);
}

TEST(Random, Split_DoesNotDependOnDrawsBefore) {
  Random a(7);
  const std::uint64_t first = a.split(3).bits();
  a.bits();
  EXPECT_EQ(a.split(3).bits(), first);
  EXPECT_NE(a.split(4).bits(), first);
}

TEST(Random, Below_ReachesEachValueAlike) {
  Random random(5);
  std::array<int, 7> seen{};
  for (int i = 0; i < 70'000; ++i) ++seen.at(random.below(7));
  for (const int count : seen) EXPECT_NEAR(count, 10'000, 400);
}

TEST(Random, Between_HasBothEnds) {
  Random random(5);
  int low = 9, high = -9;
  for (int i = 0; i < 1000; ++i) {
    const int drawn = random.between(-2, 2);
    low = std::min(low, drawn);
    high = std::max(high, drawn);
  }
  EXPECT_EQ(low, -2);
  EXPECT_EQ(high, 2);
}

TEST(Random, Distributions_HaveTheirMeanAndVariance) {
  Random random(11);
  const auto [exponential, exponential_variance] =
      mean_and_variance([&] { return random.exponential(3); });
  EXPECT_NEAR(exponential, 3, 0.05);
  EXPECT_NEAR(exponential_variance, 9, 0.3);
  const auto [normal, normal_variance] = mean_and_variance([&] { return random.normal(); });
  EXPECT_NEAR(normal, 0, 0.02);
  EXPECT_NEAR(normal_variance, 1, 0.03);
  for (const double shape : {0.3, 1.0, 4.5}) {
    const auto [gamma, variance] = mean_and_variance([&] { return random.gamma(shape); });
    EXPECT_NEAR(gamma, shape, 0.05 * std::max(1.0, shape));
    EXPECT_NEAR(variance, shape, 0.08 * std::max(1.0, shape));
  }
  for (const double shape : {0.5, 1.0, 2.0}) {
    const auto [weibull, variance] = mean_and_variance([&] { return random.weibull(shape); });
    const double mean = std::tgamma(1 + 1 / shape);
    EXPECT_NEAR(weibull, mean, 0.05 * mean);
    EXPECT_GT(variance, 0);
  }
  for (const double expected : {0.0, 0.7, 12.0, 400.0}) {
    const auto [poisson, variance] =
        mean_and_variance([&] { return static_cast<double>(random.poisson(expected)); });
    EXPECT_NEAR(poisson, expected, 0.02 * expected + 0.001);
    EXPECT_NEAR(variance, expected, 0.04 * expected + 0.01);
  }
}

TEST(Random, Lognormal_HasItsMedian) {
  Random random(3);
  int below = 0;
  for (int i = 0; i < kDraws; ++i) below += random.lognormal(200, 1.1) < 200 ? 1 : 0;
  EXPECT_NEAR(below, kDraws / 2, kDraws / 100);
}

TEST(Zipf, Ranks_FallAsTheExponentSays) {
  Random random(2);
  const Zipf zipf(1000, 1.0);
  std::vector<int> seen(1000);
  for (int i = 0; i < kDraws; ++i) ++seen.at(zipf.pick(random));
  EXPECT_NEAR(static_cast<double>(seen[0]) / seen[1], 2, 0.1);
  EXPECT_NEAR(static_cast<double>(seen[0]) / seen[9], 10, 1);
  EXPECT_GT(seen[999] + seen[998] + seen[997], 0);
}

TEST(Zipf, OneRank_IsAlwaysDrawn) {
  Random random(2);
  const Zipf zipf(1, 1.5);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(zipf.pick(random), 0u);
}

}  // namespace
}  // namespace glowplug::simulate
