#include "policy/predictive_scaler.h"

#include <chrono>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using enum ScaleRule;

class Predictive : public testing::Test {
 protected:
  // What a function with this concurrency, constant for long, looks like.
  LoadFacts facts(double concurrency, int live) const {
    const WindowSums sums{.concurrency = concurrency, .arrivals = concurrency > 0 ? 1u : 0u};
    return {.ready = live, .live = live, .start_time = start_time_, .stable = sums, .panic = sums};
  }
  ScaleWish decide(double concurrency, int live) {
    return scaler_.decide(facts(concurrency, live), now_);
  }
  // A call of a minute after each idle time, seen as it comes and goes.
  void calls(int count, Duration idle) {
    for (int i = 0; i < count; ++i) {
      scaler_.note_busy(now_);
      decide(1, 1);
      now_ += 1min;
      scaler_.note_idle(now_);
      decide(0, 0);
      now_ += idle;
    }
    now_ -= idle;  // the last call has just ended
  }
  // Days of ten busy slots from 8 to 18 h.
  void days(int count, double busy = 10) { hours(count * 24, busy); }
  void hours(int count, double busy = 10) {
    for (const Time end = now_ + count * 1h; now_ < end; now_ += 1min) decide(busy_now(busy), 4);
  }
  double busy_now(double busy) const {
    const Duration time_of_day = now_.time_since_epoch() % 24h;
    return time_of_day >= 8h && time_of_day < 18h ? busy : 0;
  }

  PredictiveScaler scaler_;
  Time now_{240h};
  Duration start_time_ = 20s;
};

TEST_F(Predictive, WithoutAPast_WishesAsConcurrencyDoes) {
  ConcurrencyScaler plain;
  for (const double load : {0.0, 1.0, 2.9, 30.0, 0.5, 0.0, 0.0}) {
    now_ += 2s;
    EXPECT_EQ(decide(load, 2), plain.decide(facts(load, 2), now_)) << load;
  }
}

TEST_F(Predictive, ExpectedCall_IsWaitedForFromAheadOfItUntilItIsOverdue) {
  calls(12, 30min);  // loaded after 27 min, kept until 34 min 6 s
  const Time ended = now_;
  const Time from = ended + 27min - 22s, until = ended + 2046s;  // a start and a tick before
  EXPECT_EQ(decide(0, 0).wanted, 0);
  EXPECT_EQ(scaler_.review(now_), from);
  now_ = from - 1ns;
  EXPECT_EQ(decide(0, 0).wanted, 0);
  now_ = from;
  const ScaleWish wish = decide(0, 0);
  EXPECT_EQ(wish.wanted, 1);
  EXPECT_EQ(wish.rule, Expected);
  EXPECT_EQ(in_words(wish), "no call for 1598 s, the next is expected after 1620 s: 1");
  EXPECT_EQ(scaler_.review(now_), until);
  now_ = until - 1ns;
  EXPECT_EQ(decide(0, 0).wanted, 1);
  now_ = until;
  EXPECT_EQ(decide(0, 0).wanted, 0);
  EXPECT_EQ(scaler_.review(now_), std::nullopt);
}

TEST_F(Predictive, ExpectedCall_IsWaitedForWhereThatIdlesLessThanAStartIsWorth) {
  calls(12, 30min);
  scaler_.keep_time(2min);
  now_ += 30min;
  calls(1, 30min);
  now_ += 28min;
  EXPECT_EQ(decide(0, 0).wanted, 0);  // from 27 min on it would idle for three
  scaler_.keep_time(5min);
  now_ += 2min;
  calls(1, 30min);
  now_ += 28min;
  EXPECT_EQ(decide(0, 0).wanted, 1);
}

TEST_F(Predictive, LastReplica_StaysNoLongerThanItsIdleTimesMakeWorthWhile) {
  decide(1, 1);  // knows what a start takes
  EXPECT_EQ(scaler_.keep_time(5min), 5min);
  calls(12, 30min);
  EXPECT_EQ(scaler_.keep_time(5min), 0s);
  EXPECT_GE(scaler_.keep_time(1h), 30min);
  EXPECT_EQ(scaler_.keep_time(kForever), kForever);
  start_time_ = 100ms - 1ns;
  decide(0, 0);
  EXPECT_EQ(scaler_.keep_time(5min), 5min);
}

TEST_F(Predictive, StartThatTakesLongerThanTheIdleTime_IsWantedAtOnce) {
  start_time_ = 1h;
  calls(12, 30min);
  EXPECT_EQ(decide(0, 0).wanted, 1);
}

TEST_F(Predictive, FewIdleTimes_ExpectNothing) {
  calls(9, 30min);
  now_ += 27min;
  EXPECT_EQ(decide(0, 0).wanted, 0);
}

TEST_F(Predictive, CallsInARow_ExpectNothingAhead) {
  calls(50, 10s);  // the histogram says: do not unload, which is for keep_alive to say
  EXPECT_EQ(decide(0, 0).wanted, 0);
  EXPECT_EQ(scaler_.review(now_), std::nullopt);
}

TEST_F(Predictive, HabitThatChanged_FallsBackToConcurrency) {
  calls(400, 30min);
  EXPECT_TRUE(scaler_.review(now_));
  calls(4, 90min);
  now_ += 30min;
  EXPECT_EQ(decide(0, 0).wanted, 0);
  EXPECT_EQ(decide(9, 1).rule, Panic);
}

TEST_F(Predictive, StartThatNobodyNotices_IsNotDoneAhead) {
  calls(12, 30min);
  now_ += 30min;
  start_time_ = 100ms;
  EXPECT_EQ(decide(0, 0).wanted, 1);
  start_time_ = 100ms - 1ns;
  EXPECT_EQ(decide(0, 0).wanted, 0);
  EXPECT_EQ(scaler_.review(now_), std::nullopt);
  start_time_ = {};
  EXPECT_EQ(decide(0, 0).wanted, 0);
}

TEST_F(Predictive, BusyHours_AreReadyForByTheTimeOfAStart) {
  days(3);
  const Time morning = now_ + 8h;
  now_ = morning - 22s - 1ns;
  EXPECT_EQ(decide(0, 0).wanted, 0);
  now_ = morning - 22s;
  const ScaleWish wish = decide(0, 0);
  EXPECT_EQ(wish.wanted, 4);  // 10 / 2.8
  EXPECT_EQ(wish.rule, Forecast);
  EXPECT_EQ(in_words(wish), "forecast: concurrency 10.0, 2.8 for a replica: 4");
}

TEST_F(Predictive, Forecast_NeverWantsFewerThanTheLoad) {
  days(3);
  hours(12);
  EXPECT_EQ(decide(20, 8).wanted, 8);
  EXPECT_EQ(decide(5.6, 4).rule, Forecast);  // the other way it does want more
  EXPECT_EQ(decide(5.6, 4).wanted, 4);
}

TEST_F(Predictive, Bounds_HoldForTheForecastToo) {
  days(3, 1000);
  hours(9, 1000);
  LoadFacts bounded = facts(1, 1);
  bounded.most = 3;
  EXPECT_EQ(scaler_.decide(bounded, now_).wanted, 3);
  EXPECT_EQ(decide(1, 1).wanted, 20);
}

TEST_F(Predictive, LittleUse_IsLeftToTheIdleTimes) {
  days(3, 0.45);
  hours(12, 0.45);
  EXPECT_EQ(decide(0, 0).wanted, 0);
  days(10, 0.6);
  EXPECT_EQ(decide(0, 0).wanted, 1);
}

TEST_F(Predictive, DayUnlikeTheOthers_FallsBackToConcurrency) {
  days(5);
  now_ += 8h;
  const Time noon = now_ + 4h;
  for (; now_ < noon; now_ += 1min) decide(0, 0);
  EXPECT_EQ(decide(0, 0).wanted, 0);
}

TEST_F(Predictive, KnownDay_IsAskedAgainAtItsNextStep) {
  days(2);
  decide(0, 0);
  EXPECT_EQ(scaler_.review(now_), now_ + 5min - 22s);
  EXPECT_EQ(scaler_.review(now_ + 5min - 22s), now_ + 5min);
}

}  // namespace
}  // namespace glowplug::policy
