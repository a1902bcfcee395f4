#include "policy/metrics_window.h"

#include <chrono>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Time kBegin{1000s};

class Window : public testing::Test {
 protected:
  void arrive(Time now, int weight) {
    window_.note_arrival(now);
    window_.set_concurrency(now, window_.concurrency() + weight);
  }
  void leave(Time now, int weight) { window_.set_concurrency(now, window_.concurrency() - weight); }
  void call(Time from, Duration length, int weight = 1) {
    arrive(from, weight);
    leave(from + length, weight);
  }
  MetricsWindow window_;
};

TEST_F(Window, NothingYet_IsStillAndAllZero) {
  EXPECT_TRUE(window_.is_still(kBegin));
  EXPECT_EQ(window_.over(60, kBegin + 500ms), (WindowSums{.span = 59500ms}));
  EXPECT_EQ(window_.over(6, kBegin + 500ms), (WindowSums{.span = 5500ms}));
}

TEST_F(Window, Concurrency_IsSlotsTimesTimeOverTheSpan) {
  call(kBegin, 2s, 3);
  EXPECT_EQ(window_.concurrency(), 0);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 4s).concurrency, 6.0 / 4);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 59500ms).concurrency, 6.0 / 59.5);
  EXPECT_EQ(window_.over(60, kBegin + 59500ms).arrivals, 1u);
}

// The running second and the five before it.
TEST_F(Window, SixSeconds_ForgetTheSeventhToTheSecond) {
  call(kBegin, 1s);
  call(kBegin + 1s, 1s, 2);
  EXPECT_DOUBLE_EQ(window_.over(6, kBegin + 5999ms).concurrency, 3 / 5.999);
  EXPECT_DOUBLE_EQ(window_.over(6, kBegin + 6s).concurrency, 2 / 5.0);
  EXPECT_DOUBLE_EQ(window_.over(6, kBegin + 6999ms).concurrency, 2 / 5.999);
  EXPECT_EQ(window_.over(6, kBegin + 7s).concurrency, 0);
  EXPECT_GT(window_.over(60, kBegin + 7s).concurrency, 0);
}

TEST_F(Window, SixtySeconds_ForgetTheSixtyFirst) {
  window_.note_request(kBegin, Start::Waited);
  window_.note_first_token(kBegin, 200ms);
  EXPECT_EQ(window_.over(60, kBegin + 59999ms).cold, 1u);
  EXPECT_EQ(window_.over(60, kBegin + 59999ms).first_token_sum, 200ms);
  EXPECT_EQ(window_.over(60, kBegin + 60s), (WindowSums{.span = 59s}));
}

TEST_F(Window, CallLongerThanTheRing_FillsItOnce) {
  arrive(kBegin, 2);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 1h).concurrency, 2);
  EXPECT_DOUBLE_EQ(window_.over(6, kBegin + 1h + 300ms).concurrency, 2);
  EXPECT_EQ(window_.over(60, kBegin + 1h).arrivals, 0u);
  leave(kBegin + 2h, 2);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 2h).concurrency, 2);
}

// A minute apart to the nanosecond: what is sixty seconds old shares a bucket with what is new.
TEST_F(Window, StepsNearALapOfTheRing_LeaveNothingBehind) {
  for (const Duration step : {Duration(59s), Duration(60s) - 1ns, Duration(60s),
                              Duration(60s) + 1ns, Duration(61s), Duration(120s)}) {
    MetricsWindow window;
    window.note_request(kBegin + 500ms, Start::None);
    window.note_request(kBegin + 500ms + step, Start::None);
    EXPECT_EQ(window.over(60, kBegin + 500ms + step).requests, step < 60s - 1ns ? 2u : 1u)
        << step.count();
  }
}

TEST_F(Window, AfterAStillMinute_TheMeanIsOverWhatWasSeenSince) {
  call(kBegin, 1s);
  EXPECT_FALSE(window_.is_still(kBegin + 60999ms));
  EXPECT_TRUE(window_.is_still(kBegin + 61s));
  arrive(kBegin + 10min, 5);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 10min + 4s).concurrency, 5);
  EXPECT_EQ(window_.over(60, kBegin + 10min + 4s).span, Duration(4s));
}

TEST_F(Window, FirstSecond_CountsAsAWholeOne) {
  arrive(kBegin, 8);
  EXPECT_EQ(window_.over(60, kBegin).concurrency, 0);
  EXPECT_DOUBLE_EQ(window_.over(6, kBegin + 250ms).concurrency, 2);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 1s).concurrency, 8);
  EXPECT_DOUBLE_EQ(window_.over(60, kBegin + 2s).concurrency, 8);
}

TEST_F(Window, LessThanAStillMinute_BeginsNothingAnew) {
  call(kBegin, 1s);
  call(kBegin + 30s, 1s);
  EXPECT_EQ(window_.over(60, kBegin + 31s).span, Duration(31s));
}

TEST_F(Window, CallOfNoLength_IsNoConcurrencyAndYetKeepsItFromBeingStill) {
  call(kBegin, 0s);
  EXPECT_EQ(window_.over(60, kBegin + 1s).concurrency, 0);
  EXPECT_EQ(window_.over(60, kBegin + 1s).arrivals, 1u);
  EXPECT_FALSE(window_.is_still(kBegin + 59s));
}

// Told again at each tick: that is nothing that happens.
TEST_F(Window, SameConcurrencyAgain_KeepsNothingFromBeingStill) {
  call(kBegin, 1s);
  for (int i = 2; i <= 61; ++i) window_.set_concurrency(kBegin + i * 1s, 0);
  EXPECT_TRUE(window_.is_still(kBegin + 61s));
}

TEST_F(Window, RunningCall_IsNeverStill) {
  arrive(kBegin, 1);
  EXPECT_FALSE(window_.is_still(kBegin + 100h));
}

TEST_F(Window, TimeThatStepsBack_CountsAsTheLatestSeen) {
  arrive(kBegin + 10s, 1);
  window_.over(60, kBegin + 12s);
  arrive(kBegin, 1);
  window_.note_request(kBegin - 1h, Start::Waited);
  leave(kBegin, 2);
  const WindowSums sums = window_.over(60, kBegin);
  EXPECT_EQ(sums.span, Duration(2s));
  EXPECT_DOUBLE_EQ(sums.concurrency, 1);
  EXPECT_EQ(sums.arrivals, 2u);
  EXPECT_EQ(sums.cold, 1u);
  EXPECT_FALSE(window_.is_still(kBegin - 1h));
}

TEST_F(Window, TimeBeforeTheEpoch_IsLikeAnyOther) {
  call(Time(-90s), 45s);
  EXPECT_DOUBLE_EQ(window_.over(6, Time(-45s)).concurrency, 1);
  EXPECT_DOUBLE_EQ(window_.over(60, Time(-40s)).concurrency, 45.0 / 50);
}

TEST_F(Window, SumsOfAnswers_AreExactAndNeverNegative) {
  for (int i = 0; i < 10; ++i) window_.note_first_token(kBegin, 200ms + 1ns);
  window_.note_first_token(kBegin, -5s);
  const WindowSums sums = window_.over(60, kBegin);
  EXPECT_EQ(sums.first_tokens, 11u);
  EXPECT_EQ(sums.first_token_sum, 2s + 10ns);
}

TEST_F(Window, MoreThanACounterHolds_StaysAtItsLargest) {
  for (int i = 0; i < 70'000; ++i) window_.note_request(kBegin, Start::None);
  EXPECT_EQ(window_.over(60, kBegin).requests, 65'535u);
}

TEST(Windows, OfTheSameEvents_AreTheSame) {
  const auto run = [] {
    MetricsWindow window;
    Time now = kBegin;
    for (int i = 1; i < 500; ++i) {
      now += std::chrono::microseconds(i * 7919 % 900'001);
      if (i % 3 != 0) window.set_concurrency(now, window.concurrency() + 1 + i % 2);
      if (window.concurrency() > 1) window.set_concurrency(now + 13us, window.concurrency() - 1);
      window.note_first_token(now, std::chrono::microseconds(i));
    }
    return window.over(60, now);
  };
  EXPECT_EQ(run(), run());
}

}  // namespace
}  // namespace glowplug::policy
