#include "simulate/histogram.h"

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

TEST(Histogram, Percentiles_AreWithinTwoPercent) {
  Histogram histogram;
  for (int i = 1; i <= 10'000; ++i) histogram.add(i * 1ms);
  for (const double share : {0.01, 0.5, 0.9, 0.99})
    EXPECT_NEAR(to_ms(histogram.percentile(share)), share * 10'000, share * 10'000 * 0.02);
  EXPECT_EQ(histogram.percentile(1), 10s);
  EXPECT_EQ(histogram.longest(), 10s);
  EXPECT_NEAR(to_ms(histogram.mean()), 5000.5, 0.1);
}

TEST(Histogram, Zeros_StayZero) {
  Histogram histogram;
  EXPECT_EQ(histogram.percentile(0.5), 0ns);
  for (int i = 0; i < 99; ++i) histogram.add(0ns);
  histogram.add(-5ms);
  EXPECT_EQ(histogram.percentile(0.99), 0ns);
  histogram.add(100h);
  EXPECT_EQ(histogram.percentile(1), 100h);
}

TEST(Histogram, Curve_RisesToOne) {
  Histogram histogram;
  histogram.add(1ms);
  histogram.add(1ms);
  histogram.add(1s);
  const auto curve = histogram.curve();
  ASSERT_EQ(curve.size(), 2u);
  EXPECT_NEAR(curve[0].up_to, 2.0 / 3, 1e-9);
  EXPECT_EQ(curve[1].up_to, 1);
}

}  // namespace
}  // namespace glowplug::simulate
