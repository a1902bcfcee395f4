#include "policy/autoscaler.h"

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::ScalePolicy;
using enum ScaleRule;

WindowSums slow(std::uint64_t answers, Duration mean) {
  return {.first_tokens = answers, .first_token_sum = mean * static_cast<long>(answers)};
}
WindowSums cold(std::uint64_t cold, std::uint64_t requests) {
  return {.requests = requests, .cold = cold};
}

struct Step {
  const char* what;
  LoadFacts facts;
  int wanted;
  ScaleRule rule;
};

TEST(Threshold, EachBoundary_FallsOnItsSide) {
  const std::vector<Step> steps{
      {"queue at the limit", {.queue = 50, .live = 3}, 3, Hold},
      {"queue over it", {.queue = 51, .live = 3}, 5, QueueLong},
      {"queue short", {.queue = 4, .live = 3}, 2, QueueShort},
      {"queue just not short", {.queue = 5, .live = 3}, 3, Hold},
      {"no queue", {.queue = 0, .live = 1}, 0, QueueShort},
      {"mean at the limit", {.queue = 5, .live = 3, .stable = slow(10, 200ms)}, 3, Hold},
      {"mean a nanosecond over", {.queue = 5, .live = 3, .stable = slow(10, 200ms + 1ns)}, 5, Slow},
      {"mean of 201 ms", {.queue = 5, .live = 3, .stable = slow(10, 201ms)}, 5, Slow},
      {"mean of nine", {.queue = 5, .live = 3, .stable = slow(9, 10s)}, 3, Hold},
      {"mean of none", {.queue = 5, .live = 3, .stable = slow(0, 10s)}, 3, Hold},
      {"three of ten cold", {.queue = 5, .live = 3, .stable = cold(3, 10)}, 3, Hold},
      {"four of ten cold", {.queue = 5, .live = 3, .stable = cold(4, 10)}, 5, ColdStarts},
      {"thirty of a hundred", {.queue = 5, .live = 3, .stable = cold(30, 100)}, 3, Hold},
      {"31 of a hundred", {.queue = 5, .live = 3, .stable = cold(31, 100)}, 5, ColdStarts},
      {"nine of nine cold", {.queue = 5, .live = 3, .stable = cold(9, 9)}, 3, Hold},
      {"ten of ten cold", {.queue = 5, .live = 3, .stable = cold(10, 10)}, 5, ColdStarts},
      {"slow with no queue grows", {.queue = 0, .live = 3, .stable = slow(10, 1s)}, 5, Slow},
      {"cold with no queue grows", {.queue = 0, .live = 3, .stable = cold(9, 10)}, 5, ColdStarts}};
  for (const Step& step : steps) {
    const ScaleWish wish = make_autoscaler(ScalePolicy::Threshold)->decide(step.facts, Time(1s));
    EXPECT_EQ(wish.wanted, step.wanted) << step.what;
    EXPECT_EQ(wish.rule, step.rule) << step.what;
  }
}

TEST(Threshold, MinAndMax_AreNeverPassed) {
  const std::vector<Step> steps{
      {"to the most", {.queue = 51, .live = 18}, 20, QueueLong},
      {"one fits", {.queue = 51, .live = 19}, 20, QueueLong},
      {"none fits", {.queue = 51, .live = 20}, 20, QueueLong},
      {"another most", {.queue = 51, .live = 2, .most = 3}, 3, QueueLong},
      {"more than the most, since it was lowered", {.queue = 5, .live = 7, .most = 3}, 3, Hold},
      {"at the least", {.queue = 0, .live = 2, .least = 2}, 2, Hold},
      {"above the least", {.queue = 0, .live = 3, .least = 2}, 2, QueueShort},
      {"under the least", {.queue = 5, .live = 0, .least = 2}, 2, Hold},
      {"nothing there", {.queue = 0, .live = 0}, 0, Hold},
      {"the most is less than the least", {.queue = 0, .live = 2, .least = 5, .most = 3}, 3, Hold}};
  for (const Step& step : steps) {
    const ScaleWish wish = make_autoscaler(ScalePolicy::Threshold)->decide(step.facts, Time(1s));
    EXPECT_EQ(wish.wanted, step.wanted) << step.what;
    EXPECT_EQ(wish.rule, step.rule) << step.what;
  }
}

TEST(Threshold, LastingQueue_GrowsByTwoAtEachTickUpToTwentyAndShrinksByOne) {
  const auto scaler = make_autoscaler(ScalePolicy::Threshold);
  std::vector<int> wanted;
  LoadFacts facts{.queue = 51, .live = 1};
  Time now{1000s};
  for (int i = 0; i < 12; ++i, now += kScaleTick) {
    facts.live = scaler->decide(facts, now).wanted;
    wanted.push_back(facts.live);
  }
  EXPECT_EQ(wanted, (std::vector<int>{3, 5, 7, 9, 11, 13, 15, 17, 19, 20, 20, 20}));
  facts.queue = 0;
  for (int i = 19; i >= 0; --i) {
    facts.live = scaler->decide(facts, now).wanted;
    EXPECT_EQ(facts.live, i);
  }
  EXPECT_EQ(scaler->decide(facts, now).wanted, 0);
}

TEST(Threshold, Numbers_AreTold) {
  const auto words = [](const LoadFacts& facts) {
    return in_words(make_autoscaler(ScalePolicy::Threshold)->decide(facts, Time(1s)));
  };
  EXPECT_EQ(words({.queue = 51, .live = 1}), "51 wait, over 50: 3");
  EXPECT_EQ(words({.queue = 51, .live = 19}),
            "51 wait, over 50: 20 instead of 21, the most that may be");
  EXPECT_EQ(words({.queue = 4, .live = 3}), "4 wait, under 5: 2");
  EXPECT_EQ(words({.queue = 7, .live = 3}), "7 wait, nothing else asks for a change: 3");
  EXPECT_EQ(words({.queue = 7, .live = 1, .least = 2}),
            "7 wait, nothing else asks for a change: 2 instead of 1, the least that is held");
  EXPECT_EQ(words({.live = 1, .stable = slow(12, 312ms)}),
            "first token after 312 ms, over 200 ms, mean of 12: 3");
  EXPECT_EQ(words({.live = 1, .stable = cold(5, 12)}),
            "0.42 of 12 calls waited for a start, over 0.30: 3");
}

TEST(Autoscaler, SameFactsTwice_WishTheSame) {
  for (const ScalePolicy policy :
       {ScalePolicy::Threshold, ScalePolicy::Concurrency, ScalePolicy::Predictive}) {
    const auto a = make_autoscaler(policy), b = make_autoscaler(policy);
    Time now{1000s};
    LoadFacts facts{.start_time = 5s};
    for (int i = 0; i < 2000; ++i, now += std::chrono::milliseconds(2000 + i % 7)) {
      facts.queue = i * 31 % 67;
      facts.stable = {.concurrency = i * 17 % 41 / 3.0, .arrivals = 1};
      facts.panic.concurrency = i * 13 % 53 / 3.0;
      if (i % 50 == 0) a->note_idle(now), b->note_idle(now);
      if (i % 50 == 9) a->note_busy(now), b->note_busy(now);
      const ScaleWish wish = a->decide(facts, now);
      ASSERT_EQ(wish, b->decide(facts, now));
      ASSERT_GE(wish.wanted, facts.least);
      ASSERT_LE(wish.wanted, facts.most);
      facts.ready = facts.live = wish.wanted;
    }
  }
}

}  // namespace
}  // namespace glowplug::policy
