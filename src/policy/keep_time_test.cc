#include "policy/keep_time.h"

#include <chrono>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.h"

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

Duration from_seconds(double seconds) { return Duration(std::llround(seconds * 1e9)); }

KeepTime after(int count, const std::vector<Duration>& idle_times, Duration keep_alive = 5min) {
  KeepTime keep;
  for (int i = 0; i < count; ++i) {
    keep.within(keep_alive);
    keep.note(idle_times[static_cast<std::size_t>(i) % idle_times.size()]);
  }
  return keep;
}

TEST(KeepTime, FewIdleTimes_ItIsKeepAlive) {
  EXPECT_EQ(after(9, {1h}).within(5min), 5min);
  EXPECT_EQ(after(10, {1h}).within(5min), 0s);
}

TEST(KeepTime, CallsInARow_StayAsLongAsTheGapsBetweenThem) {
  KeepTime keep = after(50, {3s, 3s, 3s, 3s, 1h});
  EXPECT_GE(keep.within(5min), 3s);
  EXPECT_LE(keep.within(5min), 5s);
}

TEST(KeepTime, IdleTimesBelowKeepAlive_AllAreWaitedFor) {
  KeepTime keep = after(50, {10s, 30s, 60s, 200s});
  EXPECT_GE(keep.within(5min), 200s);
  EXPECT_LE(keep.within(5min), 5min);
}

TEST(KeepTime, NobodyWithinKeepAlive_GoesAtOnce) {
  EXPECT_EQ(after(50, {6min, 20min}).within(5min), 0s);
  EXPECT_EQ(after(50, {50h}).within(5min), 0s);  // beyond the last bin
}

TEST(KeepTime, StartIsWorthMore_StaysLonger) {
  KeepTime keep = after(50, {60s, 60s, 20min});
  EXPECT_LT(keep.within(30s), 1s);
  EXPECT_GE(keep.within(5min), 60s);
  EXPECT_LT(keep.within(5min), 2min);
}

TEST(KeepTime, ForeverAndZero_StayWhatTheyAre) {
  KeepTime keep = after(50, {1h});
  EXPECT_EQ(keep.within(kForever), kForever);
  EXPECT_EQ(keep.within(0s), 0s);
}

TEST(KeepTime, HabitThatChanges_FallsBackUntilTheNewOneIsKnown) {
  KeepTime keep = after(200, {1h});
  EXPECT_EQ(keep.within(5min), 0s);
  int kept = 0;
  for (int i = 0; i < 40; ++i) {
    kept += keep.within(5min) >= 20s ? 1 : 0;
    keep.note(20s);
  }
  EXPECT_GE(kept, 10);
  EXPECT_GE(keep.within(5min), 20s);
}

// Whatever the idle times are, it costs no more than keep_alive each time, but for learning.
TEST(KeepTime, RandomIdleTimes_CostNoMoreThanStayingForKeepAlive) {
  constexpr Duration kKeep = 60s;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::lognormal_distribution<double> lengths(static_cast<double>(seed % 10), 0.3 + seed % 4);
    KeepTime keep;
    double ours = 0, fixed = 0;
    for (int i = 0; i < 2000; ++i) {
      const double idle = std::min(1e5, lengths(random)), stays = to_seconds(keep.within(kKeep));
      ours += idle <= stays ? idle : stays + 60;
      fixed += idle <= 60 ? idle : 120;
      keep.note(from_seconds(idle));
    }
    EXPECT_LE(ours, 1.05 * fixed) << seed;
  }
}

}  // namespace
}  // namespace glowplug::policy
