#include "policy/concurrency_scaler.h"

#include <chrono>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using enum ScaleRule;

constexpr Time kBegin{1000s};

// Four slots: a replica is to have 2.8 of them busy.
LoadFacts load(double stable, double panic, int ready) {
  return {.ready = ready,
          .live = ready,
          .stable = {.concurrency = stable, .arrivals = stable > 0 ? 1u : 0u},
          .panic = {.concurrency = panic}};
}

// One that has seen a quiet tick, so that it is not in panic for what it finds.
ConcurrencyScaler calm(ConcurrencySettings settings = {}) {
  ConcurrencyScaler scaler(settings);
  scaler.decide(load(1, 1, 1), kBegin);
  return scaler;
}

TEST(Concurrency, Stable_IsAsManyAsKeepTheSlotsSeventyPercentBusy) {
  struct Case {
    double concurrency;
    int ready, wanted;
  };
  const std::vector<Case> cases{{0.001, 1, 1}, {2.8, 1, 1},  {2.81, 1, 2},  {5.6, 2, 2},
                                {5.61, 2, 3},  {28, 10, 10}, {2.8, 2, 1},   {2.8, 3, 1},
                                {2.8, 4, 2},   {2.8, 5, 2},  {2.8, 20, 10}, {0.001, 7, 3}};
  for (const Case& one : cases) {
    ConcurrencyScaler scaler = calm();
    const ScaleWish wish = scaler.decide(load(one.concurrency, 0, one.ready), kBegin + 2s);
    EXPECT_EQ(wish.wanted, one.wanted) << one.concurrency << " on " << one.ready;
    EXPECT_EQ(wish.rule, Stable);
  }
}

TEST(Concurrency, Slots_CountAsTheReplicaHasThem) {
  for (const auto& [slots, wanted] : std::vector<std::pair<int, int>>{{1, 4}, {2, 2}, {8, 1}}) {
    ConcurrencyScaler scaler = calm();
    LoadFacts facts = load(2.8, 0, 3);
    facts.slots = slots;
    EXPECT_EQ(scaler.decide(facts, kBegin + 2s).wanted, wanted) << slots;
  }
}

TEST(Concurrency, Rates_BoundOneStep) {
  ConcurrencyScaler slow = calm({.up_rate = 1.1});
  EXPECT_EQ(slow.decide(load(30, 0, 2), kBegin + 2s).wanted, 3);  // ceil(2 × 1.1)
  EXPECT_EQ(slow.decide(load(30, 0, 0), kBegin + 2s).wanted, 2);  // as for one
  ConcurrencyScaler gentle = calm({.down_rate = 4});
  EXPECT_EQ(gentle.decide(load(0.1, 0, 9), kBegin + 2s).wanted, 2);
  ConcurrencyScaler fast = calm();
  EXPECT_EQ(fast.decide(load(1e6, 0, 1), kBegin + 2s).asked, 1000);
  EXPECT_EQ(fast.decide(load(1e6, 0, 1), kBegin + 2s).wanted, 20);
}

TEST(Concurrency, Bounds_ComeLast) {
  ConcurrencyScaler scaler = calm();
  LoadFacts facts = load(28, 0, 10);
  facts.most = 3;
  EXPECT_EQ(scaler.decide(facts, kBegin + 2s).wanted, 3);
  facts = load(0.1, 0, 1);
  facts.least = 2;
  EXPECT_EQ(scaler.decide(facts, kBegin + 4s).wanted, 2);
  EXPECT_EQ(in_words(scaler.decide(facts, kBegin + 4s)),
            "concurrency 0.1, 2.8 for a replica: 2 instead of 1, the least that is held");
}

TEST(Concurrency, Panic_BeginsWhereTheShortWindowWantsTwiceWhatIsReady) {
  struct Case {
    double panic;
    int ready, wanted;
    ScaleRule rule;
  };
  const std::vector<Case> cases{{2.8, 1, 1, Stable}, {2.81, 1, 2, Panic}, {8.4, 2, 1, Stable},
                                {8.41, 2, 4, Panic}, {14, 3, 1, Stable},  {14.01, 3, 6, Panic},
                                {2.8, 0, 1, Stable}, {2.81, 0, 2, Panic}};
  for (const Case& one : cases) {
    ConcurrencyScaler scaler = calm();
    const ScaleWish wish = scaler.decide(load(0.5, one.panic, one.ready), kBegin + 2s);
    EXPECT_EQ(wish.wanted, one.wanted) << one.panic << " on " << one.ready;
    EXPECT_EQ(wish.rule, one.rule) << one.panic << " on " << one.ready;
  }
}

TEST(Concurrency, Panic_NeverShrinksAndEndsAStableWindowAfterItLastHeld) {
  ConcurrencyScaler scaler = calm();
  EXPECT_EQ(scaler.decide(load(1, 14, 1), kBegin + 2s).wanted, 5);
  EXPECT_EQ(scaler.decide(load(1, 28, 5), kBegin + 4s).wanted, 10);  // twice as many: again
  EXPECT_EQ(scaler.decide(load(1, 1, 10), kBegin + 6s).wanted, 10);
  EXPECT_EQ(scaler.decide(load(1, 1, 10), kBegin + 64s).wanted,
            10);  // a whole window: not yet over
  const ScaleWish after = scaler.decide(load(1, 1, 10), kBegin + 64s + 1ns);
  EXPECT_EQ(after.wanted, 5);
  EXPECT_EQ(after.rule, Stable);
}

TEST(Concurrency, Panic_TakesTheLargerOfBothWindows) {
  ConcurrencyScaler scaler = calm();
  EXPECT_EQ(scaler.decide(load(28, 8.5, 2), kBegin + 2s).wanted, 10);
  EXPECT_EQ(scaler.decide(load(8.4, 28, 5), kBegin + 4s).wanted, 10);
}

TEST(Concurrency, NextPanic_RemembersNothingOfTheFirst) {
  ConcurrencyScaler scaler = calm();
  scaler.decide(load(1, 28, 1), kBegin + 2s);
  scaler.decide(load(1, 1, 10), kBegin + 100s);
  EXPECT_EQ(scaler.decide(load(1, 3, 1), kBegin + 102s).wanted, 2);
}

TEST(Concurrency, MoreThanOneReplicaAtFirst_IsKeptForAStableWindow) {
  ConcurrencyScaler scaler;
  EXPECT_EQ(scaler.decide(load(0.1, 0.1, 4), kBegin).wanted, 4);
  EXPECT_EQ(scaler.decide(load(0.1, 0.1, 4), kBegin + 60s).wanted, 4);
  EXPECT_EQ(scaler.decide(load(0.1, 0.1, 4), kBegin + 60s + 1ns).wanted, 2);
  ConcurrencyScaler single;
  EXPECT_EQ(single.decide(load(0.1, 0.1, 1), kBegin).rule, Stable);
}

TEST(Concurrency, NoCallInTheStableWindow_IsZeroAfterTheGrace) {
  ConcurrencyScaler scaler = calm();
  const ScaleWish first = scaler.decide(load(0, 0, 1), kBegin + 60s);
  EXPECT_EQ(first.wanted, 1);
  EXPECT_EQ(first.rule, Grace);
  EXPECT_EQ(scaler.review(kBegin + 60s), kBegin + 90s);
  const ScaleWish nearly = scaler.decide(load(0, 0, 1), kBegin + 90s - 1ns);
  EXPECT_EQ(nearly.wanted, 1);
  const ScaleWish zero = scaler.decide(load(0, 0, 1), kBegin + 90s);
  EXPECT_EQ(zero.wanted, 0);
  EXPECT_EQ(in_words(zero), "no calls, grace 30 of 30 s: 0");
  EXPECT_EQ(scaler.review(kBegin + 90s), std::nullopt);
}

TEST(Concurrency, CallWithinTheGrace_BeginsItAnew) {
  ConcurrencyScaler scaler = calm();
  scaler.decide(load(0, 0, 1), kBegin + 60s);
  EXPECT_EQ(scaler.decide(load(0.01, 0, 1), kBegin + 80s).wanted, 1);
  EXPECT_EQ(scaler.review(kBegin + 80s), std::nullopt);
  EXPECT_EQ(scaler.decide(load(0, 0, 1), kBegin + 140s).wanted, 1);
  EXPECT_EQ(scaler.decide(load(0, 0, 1), kBegin + 170s - 1ns).wanted, 1);
  EXPECT_EQ(scaler.decide(load(0, 0, 1), kBegin + 170s).wanted, 0);
}

// Refused at once, or answered within a nanosecond: it is traffic all the same.
TEST(Concurrency, CallOfNoLength_IsNoReasonForZeroNorForAStart) {
  ConcurrencyScaler scaler = calm();
  LoadFacts facts = load(0, 0, 1);
  facts.stable.arrivals = 1;
  EXPECT_EQ(scaler.decide(facts, kBegin + 200s).wanted, 1);
  facts.live = facts.ready = 0;
  EXPECT_EQ(scaler.decide(facts, kBegin + 202s).wanted, 0);
}

TEST(Concurrency, NothingThere_NeedsNoGrace) {
  ConcurrencyScaler scaler = calm();
  EXPECT_EQ(scaler.decide(load(0, 0, 0), kBegin + 60s).wanted, 0);
  EXPECT_EQ(scaler.review(kBegin + 60s), std::nullopt);
}

TEST(Concurrency, NoLoadOnMany_HalvesThenWaitsForTheGrace) {
  ConcurrencyScaler scaler = calm();
  EXPECT_EQ(scaler.decide(load(0, 0, 5), kBegin + 60s).wanted, 2);
  EXPECT_EQ(scaler.decide(load(0, 0, 2), kBegin + 62s).wanted, 1);
  EXPECT_EQ(scaler.decide(load(0, 0, 1), kBegin + 64s).wanted, 1);
  EXPECT_EQ(scaler.decide(load(0, 0, 1), kBegin + 94s).wanted, 0);
}

TEST(Concurrency, ExcessBurst_IsKnatives) {
  EXPECT_EQ(calm().decide(load(1, 3.5, 2), kBegin + 2s).excess_burst, 0);
  EXPECT_EQ(calm({.burst_capacity = -1}).decide(load(1, 0, 2), kBegin + 2s).excess_burst, -1);
  EXPECT_EQ(calm({.burst_capacity = 4}).decide(load(1, 3.5, 2), kBegin + 2s).excess_burst, 0);
  EXPECT_EQ(calm({.burst_capacity = 5}).decide(load(1, 3.5, 2), kBegin + 2s).excess_burst, -1);
  EXPECT_EQ(calm({.burst_capacity = 211}).decide(load(1, 0, 1), kBegin + 2s).excess_burst, -207);
}

TEST(Concurrency, TimeThatStepsBack_EndsNoPanicAndNoGrace) {
  ConcurrencyScaler scaler = calm();
  scaler.decide(load(1, 28, 1), kBegin + 100s);
  EXPECT_EQ(scaler.decide(load(1, 1, 10), kBegin).wanted, 10);
  EXPECT_EQ(scaler.decide(load(1, 1, 10), kBegin + 160s).wanted, 10);
  EXPECT_EQ(scaler.decide(load(1, 1, 10), kBegin + 161s).wanted, 5);
}

}  // namespace
}  // namespace glowplug::policy
