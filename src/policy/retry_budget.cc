#include "policy/retry_budget.h"

#include <algorithm>

namespace glowplug::policy {

bool RetryBudget::take(Time now) {
  const Duration passed = std::max(Duration(0), now - filled_);
  add(to_seconds(passed) / to_seconds(kOneMoreEvery));
  filled_ = std::max(filled_, now);
  if (held_ < 1) return false;
  held_ -= 1;
  return true;
}

}  // namespace glowplug::policy
