#include "policy/measure_schedule.h"

#include <chrono>
#include <set>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using Id = domain::ProcessId;

class Measuring : public testing::Test {
 protected:
  // What is taken up to `by` from now on, each measured in `took`.
  std::vector<Id> pass(Duration by, Duration took = 1ms) {
    std::vector<Id> taken;
    const Time end = now_ + by;
    while (const auto next = schedule_.next()) {
      if (*next > end) break;
      now_ = std::max(now_, *next);
      const auto id = schedule_.take(now_);
      EXPECT_TRUE(id);
      taken.push_back(*id);
      now_ += took;
      schedule_.done(now_, took);
    }
    now_ = std::max(now_, end);
    return taken;
  }
  Time now_{1000s};
  MeasureSchedule schedule_;
};

TEST_F(Measuring, Nobody_NeedsNoTimer) { EXPECT_EQ(schedule_.next(), std::nullopt); }

TEST_F(Measuring, Ready_IsSeenOnceItsFirstCallIsMostlyOverAndThenEveryTenSeconds) {
  schedule_.add({1}, now_);
  EXPECT_TRUE(pass(400ms).empty());
  EXPECT_EQ(pass(200ms), std::vector<Id>{{1}});
  EXPECT_TRUE(pass(9s).empty());
  EXPECT_EQ(pass(1500ms), std::vector<Id>{{1}});
}

TEST_F(Measuring, FirstAnswer_IsFollowedByALookLaterOnesAreNot) {
  schedule_.add({1}, now_);
  pass(1s);
  schedule_.note_answer({1}, now_);
  EXPECT_EQ(pass(0ms), std::vector<Id>{{1}});
  schedule_.note_answer({1}, now_);
  EXPECT_TRUE(pass(5s).empty());
}

TEST_F(Measuring, Asked_IsTakenNext) {
  schedule_.add({1}, now_);
  schedule_.add({2}, now_);
  pass(1s);
  schedule_.ask({2}, now_);
  schedule_.ask({3}, now_);  // nobody knows it
  EXPECT_EQ(pass(1s), std::vector<Id>{{2}});
}

TEST_F(Measuring, OneAtATime_TheOthersWait) {
  schedule_.add({1}, now_);
  schedule_.add({2}, now_);
  now_ += 1s;
  ASSERT_TRUE(schedule_.take(now_));
  EXPECT_EQ(schedule_.take(now_), std::nullopt);
  EXPECT_EQ(schedule_.next(), std::nullopt);
  schedule_.done(now_, 1ms);
  EXPECT_TRUE(schedule_.next());
}

TEST_F(Measuring, GoneWhileItIsMeasured_IsNotTakenAgain) {
  schedule_.add({1}, now_);
  now_ += 1s;
  ASSERT_TRUE(schedule_.take(now_));
  schedule_.remove({1});
  schedule_.done(now_, 1ms);
  EXPECT_EQ(schedule_.next(), std::nullopt);
}

TEST_F(Measuring, ManyThatTakeLong_TakeATwentiethOfTheTimeAndAllHaveTheirTurn) {
  for (std::uint64_t id = 1; id <= 100; ++id) schedule_.add({id}, now_);
  const std::vector<Id> taken = pass(100s, 20ms);
  EXPECT_LE(taken.size() * 20ms, 100s / 20 + 20ms);
  EXPECT_EQ(std::set<Id>(taken.begin(), taken.end()).size(), 100u);
}

}  // namespace
}  // namespace glowplug::policy
