#include "policy/forecast.h"

#include <chrono>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using enum IdleTimes::Basis;

IdleTimes of(const std::vector<std::pair<Duration, int>>& noted) {
  IdleTimes times;
  for (const auto& [idle, count] : noted)
    for (int i = 0; i < count; ++i) times.note(idle);
  return times;
}

TEST(IdleTimes, Plan_FollowsTheHistogramWhereItSaysSomething) {
  struct Case {
    const char* what;
    std::vector<std::pair<Duration, int>> noted;
    IdleTimes::Plan plan;
  };
  const std::vector<Case> cases{
      {"none", {}, {TooFew, 0s, 4h}},
      {"nine", {{10min, 9}}, {TooFew, 0s, 4h}},
      {"ten", {{10min, 10}}, {Histogram, 9min, 726s}},  // 0.9 × 10 min, 1.1 × 11 min
      {"just under a bin's end", {{11min - 1ns, 10}}, {Histogram, 9min, 726s}},
      {"at it", {{11min, 10}}, {Histogram, 594s, 792s}},
      {"within the first minute", {{59s, 10}}, {Histogram, 0s, 66s}},
      {"an early one of 20 is the 5th percentile",
       {{2min, 1}, {30min, 19}},
       {Histogram, 108s, 2046s}},
      {"an early one of 21 is not", {{2min, 1}, {30min, 20}}, {Histogram, 27min, 2046s}},
      {"a late one of 100 is left out", {{30min, 99}, {200min, 1}}, {Histogram, 27min, 2046s}},
      {"a late one of 99 is not", {{30min, 98}, {200min, 1}}, {Histogram, 27min, 13266s}},
      {"the last bin", {{4h - 1ns, 10}}, {Histogram, 12906s, 264min}},
      {"half are longer", {{30min, 10}, {5h, 10}}, {Histogram, 27min, 2046s}},
      {"more than half are", {{30min, 10}, {5h, 11}}, {Long, 15300s, 20700s}},
      {"at the range", {{4h, 10}}, {Long, 12240s, 16560s}},
      {"of the long ones the last ten count", {{100h, 20}, {10h, 10}}, {Long, 30600s, 41400s}},
      {"negative ones are none", {{-5s, 10}}, {Histogram, 0s, 66s}}};
  for (const Case& one : cases) EXPECT_EQ(of(one.noted).plan(), one.plan) << one.what;
}

// The coefficient of variation of 240 bins of which k hold as much as each other is √(240/k - 1).
TEST(IdleTimes, SpreadEvenly_SayNothing) {
  const auto spread = [](int bins) {
    IdleTimes times;
    for (int round = 0; round < 3; ++round)
      for (int bin = 0; bin < bins; ++bin) times.note(bin * 1min);
    return times.plan();
  };
  EXPECT_EQ(spread(47).basis, Histogram);
  EXPECT_EQ(spread(48).basis, Histogram);  // exactly 2
  EXPECT_EQ(spread(49), (IdleTimes::Plan{Spread, 0s, 4h}));
  EXPECT_EQ(spread(240).basis, Spread);
}

TEST(IdleTimes, MoreThanACounterHolds_KeepTheirShape) {
  IdleTimes times = of({{5h, 10'000}, {20min, 50'000}, {40min, 65'534}});
  const IdleTimes::Plan before = times.plan();
  times.note(40min);
  EXPECT_EQ(times.plan(), before);
  for (int i = 0; i < 65'535; ++i) times.note(40min);
  EXPECT_EQ(times.plan().basis, Histogram);
}

TEST(IdleTimes, RegularOnes_AreForetoldAsWellAsNaively) {
  EXPECT_FALSE(of({}).is_worse_than_naive());
  EXPECT_FALSE(of({{30min, 50}}).is_worse_than_naive());
}

// Bins of 0.9 × 30 to 1.1 × 31 minutes cover either, the last one foretells neither.
TEST(IdleTimes, InTurn_AreForetoldBetterThanNaively) {
  IdleTimes times = of({{25min, 10}});
  for (int i = 0; i < 40; ++i) times.note(i % 2 == 0 ? 25min : 40min);
  EXPECT_FALSE(times.is_worse_than_naive());
}

TEST(IdleTimes, NewHabit_MakesTheOldHistogramWorseUntilItKnows) {
  IdleTimes times = of({{30min, 400}});
  EXPECT_FALSE(times.is_worse_than_naive());
  times.note(90min);  // both miss it
  EXPECT_FALSE(times.is_worse_than_naive());
  times.note(90min);
  EXPECT_TRUE(times.is_worse_than_naive());
  int more = 0;
  while (times.is_worse_than_naive() && more < 1000) times.note(90min), ++more;
  EXPECT_GT(more, 1);
  EXPECT_LT(more, 60);
}

class Day : public testing::Test {
 protected:
  // A load of `slots` from `from` to `until` of each day, seen every minute.
  void days(int count, double slots, Duration from = 8h, Duration until = 18h) {
    const Time end = now_ + count * 24h;
    for (; now_ < end; now_ += 1min) {
      const Duration time_of_day = now_.time_since_epoch() % 24h;
      shape_.observe(now_, time_of_day >= from && time_of_day < until ? slots : 0);
    }
  }
  DayShape shape_;
  Time now_{240h};
};

TEST_F(Day, FirstOne_ForetellsNothingAndTheSecondDoes) {
  days(1, 10);
  EXPECT_EQ(shape_.peak(now_ - 1min, 1h), std::nullopt);
  shape_.observe(now_, 0);
  ASSERT_TRUE(shape_.peak(now_, 1h));
  EXPECT_NEAR(*shape_.peak(now_ + 7h + 59min, 1min), 10, 1e-3);
  EXPECT_TRUE(shape_.is_worse_than_naive());  // nothing was foretold yet
}

TEST_F(Day, Peak_SeesAStepFromItsBeginningOn) {
  days(3, 10);
  const Time morning = now_ + 8h;
  EXPECT_NEAR(shape_.peak(morning - 1s, 0s).value(), 0, 0.1);
  EXPECT_NEAR(shape_.peak(morning - 10s, 9s).value(), 0, 0.1);
  EXPECT_NEAR(shape_.peak(morning - 10s, 10s).value(), 10, 0.1);
  EXPECT_NEAR(shape_.peak(morning, 0s).value(), 10, 0.1);
  EXPECT_NEAR(shape_.peak(now_ + 18h - 1ns, 0s).value(), 10, 0.1);
  EXPECT_NEAR(shape_.peak(now_ + 18h, 0s).value(), 0, 0.1);
  EXPECT_NEAR(shape_.peak(now_, 100h).value(), 10, 0.1);
  EXPECT_EQ(DayShape::step_after(morning), morning + 5min);
  EXPECT_EQ(DayShape::step_after(morning - 1ns), morning);
}

TEST_F(Day, LikeTheLast_IsForetoldBetterThanNaively) {
  days(3, 10);
  EXPECT_FALSE(shape_.is_worse_than_naive());
}

TEST_F(Day, ScoreCounts_FromTenForetoldStepsOn) {
  days(1, 0);
  for (int i = 0; i <= 10 * 5; ++i, now_ += 1min) {  // the day's last step ends with the first
    EXPECT_TRUE(shape_.is_worse_than_naive()) << i;
    shape_.observe(now_, 0);
  }
  EXPECT_FALSE(shape_.is_worse_than_naive());  // equal is not worse
}

TEST_F(Day, WithoutTheCallsOfTheOthers_IsSoonWorseThanNaive) {
  days(5, 10);
  EXPECT_FALSE(shape_.is_worse_than_naive());
  const Time morning = now_ + 8h;
  for (; !shape_.is_worse_than_naive() && now_ < morning + 10h; now_ += 1min)
    shape_.observe(now_, 0);
  EXPECT_GT(now_, morning);
  EXPECT_LT(now_, morning + 30min);
}

TEST_F(Day, OfAnotherHeight_IsFollowedWithinTheDay) {
  days(3, 10);
  now_ += 0s;
  for (const Time end = now_ + 9h; now_ < end; now_ += 1min)
    shape_.observe(now_, now_.time_since_epoch() % 24h >= 8h ? 20 : 0);
  EXPECT_NEAR(shape_.peak(now_, 10min).value(), 20, 2);
}

TEST_F(Day, PartOfAStep_IsTheMeanOfWhatWasSeen) {
  shape_.observe(now_ + 4min, 6);
  shape_.observe(now_ + 4min + 30s, 2);
  shape_.observe(now_ + 5min, 0);
  now_ += 5min;
  for (int i = 1; i < DayShape::kSteps; ++i, now_ += 5min) shape_.observe(now_ + 5min, 0);
  EXPECT_NEAR(shape_.peak(now_ + 1min, 0s).value(), 4, 1e-3);
}

TEST_F(Day, Gap_CountsAsTheLastLoadWentOn) {
  shape_.observe(now_, 3);
  shape_.observe(now_ + 24h, 0);
  EXPECT_NEAR(shape_.peak(now_ + 24h, 24h).value(), 3, 1e-3);
  shape_.observe(now_ + 1000h, 0);  // takes in one day of it
  EXPECT_NEAR(shape_.peak(now_ + 1000h, 24h).value(), 0, 0.1);
}

TEST_F(Day, TimeThatStepsBack_IsIgnored) {
  shape_.observe(now_, 1);
  shape_.observe(now_ + 1h, 2);
  DayShape same = shape_;
  shape_.observe(now_, 50);
  shape_.observe(now_ - 24h, 50);
  shape_.observe(now_ + 24h, 0);
  same.observe(now_ + 24h, 0);
  EXPECT_EQ(shape_.peak(now_ + 24h, 24h), same.peak(now_ + 24h, 24h));
}

}  // namespace
}  // namespace glowplug::policy
