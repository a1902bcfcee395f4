// A budget of money for one day of UTC (scale.budget.per_day): warned of once most of it is spent,
// and nothing more is begun once all of it is. What is under way goes on, so that a day may cost a
// little more than its budget.
//
// Thread: pure functions.
#pragma once

#include "base/time_types.h"
#include "domain/price.h"

namespace glowplug::policy {

inline constexpr int kBudgetWarnedPercent = 80;

enum class BudgetState { Within, Warned, Spent };

// Without a bound (0) it is always Within.
BudgetState budget_state(domain::Money per_day, domain::Money spent);

Duration until_next_day(WallTime at);

}  // namespace glowplug::policy
