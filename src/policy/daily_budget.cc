#include "policy/daily_budget.h"

#include <chrono>
#include <cstdint>

namespace glowplug::policy {

BudgetState budget_state(domain::Money per_day, domain::Money spent) {
  if (per_day.micros <= 0) return BudgetState::Within;
  if (spent >= per_day) return BudgetState::Spent;
  // Divided first: a budget times a hundred may not be counted.
  const std::int64_t hundredth = per_day.micros / 100, rest = per_day.micros % 100;
  const std::int64_t warned =
      hundredth * kBudgetWarnedPercent + (rest * kBudgetWarnedPercent + 99) / 100;
  return spent.micros >= warned ? BudgetState::Warned : BudgetState::Within;
}

Duration until_next_day(WallTime at) {
  return std::chrono::floor<std::chrono::days>(at) + std::chrono::days(1) - at;
}

}  // namespace glowplug::policy
