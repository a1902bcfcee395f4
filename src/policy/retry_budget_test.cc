#include "policy/retry_budget.h"

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow{1000s};

int granted(RetryBudget& budget, Time now, int asked) {
  int count = 0;
  for (int i = 0; i < asked; ++i) count += budget.take(now) ? 1 : 0;
  return count;
}

TEST(RetryBudget, LoneCall_MayBeTriedAgain) {
  RetryBudget budget;
  budget.note_call();
  EXPECT_TRUE(budget.take(kNow));
}

TEST(RetryBudget, ManyRetriesAtOnce_AreTenAndNoMore) {
  RetryBudget budget;
  EXPECT_EQ(granted(budget, kNow, 1000), 10);
}

TEST(RetryBudget, WhenTheStockIsUsedUp_OneCallInTenIsTriedAgain) {
  RetryBudget budget;
  granted(budget, kNow, 10);
  int retried = 0;
  for (int call = 0; call < 1000; ++call) {  // and every one of them breaks
    budget.note_call();
    retried += budget.take(kNow) ? 1 : 0;
  }
  EXPECT_GE(retried, 99);
  EXPECT_LE(retried, 100);
}

TEST(RetryBudget, TimeFillsTheStock_OneInTenSecondsUpToTen) {
  RetryBudget budget;
  granted(budget, kNow, 10);
  EXPECT_FALSE(budget.take(kNow + 9s));
  EXPECT_TRUE(budget.take(kNow + 10s));
  EXPECT_FALSE(budget.take(kNow + 11s));
  EXPECT_EQ(granted(budget, kNow + 24h, 1000), 10);
}

TEST(RetryBudget, ClockThatStandsStill_FillsNothing) {
  RetryBudget budget;
  granted(budget, kNow, 10);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(budget.take(kNow - 5s));
}

}  // namespace
}  // namespace glowplug::policy
