#include "policy/daily_budget.h"

#include <gtest/gtest.h>

#include "base/utc_day.h"

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

TEST(DailyBudget, IsWarnedOfAtFourFifths_AndSpentAtAll) {
  struct Case {
    std::int64_t per_day, spent;
    BudgetState state;
  };
  for (const Case& one :
       {Case{0, 1'000'000, BudgetState::Within}, Case{1'000'000, 0, BudgetState::Within},
        Case{1'000'000, 799'999, BudgetState::Within},
        Case{1'000'000, 800'000, BudgetState::Warned},
        Case{1'000'000, 999'999, BudgetState::Warned},
        Case{1'000'000, 1'000'000, BudgetState::Spent}, Case{1, 0, BudgetState::Within},
        Case{1, 1, BudgetState::Spent}, Case{3, 2, BudgetState::Within},
        Case{10'000'000'000'000, 8'000'000'000'000, BudgetState::Warned}})
    EXPECT_EQ(budget_state({one.per_day}, {one.spent}), one.state)
        << one.per_day << " " << one.spent;
}

TEST(DailyBudget, DaysAreThoseOfUtc) {
  const WallTime late{std::chrono::milliseconds(1'795'910'399'999)};
  EXPECT_EQ(utc_day(late), "2026-11-28");
  EXPECT_EQ(utc_day(late + 1ms), "2026-11-29");
  EXPECT_EQ(until_next_day(late), Duration(1ms));
  EXPECT_EQ(until_next_day(late + 1ms), Duration(24h));
  EXPECT_EQ(utc_day(WallTime{-1ms}), "1969-12-31");
}

}  // namespace
}  // namespace glowplug::policy
