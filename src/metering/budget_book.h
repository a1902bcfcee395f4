// What each function's calls have cost their callers today, against scale.budget.per_day: warned of
// once a day in the log, refused once it is spent, and counted. The day is UTC's.
//
// After a restart the sums come from the ledger: restore().
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/manifest.h"
#include "domain/price.h"
#include "policy/daily_budget.h"

namespace glowplug::metering {

class BudgetBook final {
 public:
  struct Row {
    domain::Money spent;
    domain::Money per_day;  // as last asked; 0 = none
    policy::BudgetState told = policy::BudgetState::Within;
  };

  explicit BudgetBook(std::function<void(const std::string& line)> warn) : warn_(std::move(warn)) {}

  void restore(const std::string& function, domain::Money spent, WallTime now);
  void add(const std::string& function, domain::Money cost, domain::Money per_day, WallTime now);
  // Before a call is begun. Errors: insufficient_quota.
  Result<void> may_call(const domain::Manifest& manifest, WallTime now);

  domain::Money spent(const std::string& function, WallTime now);
  // Of today, of functions that have a budget or a cost.
  void each(WallTime now, const std::function<void(const std::string&, const Row&)>& visit);

 private:
  Row& row_of(const std::string& function, WallTime now);
  void begin_day(WallTime now);
  void look(const std::string& function, Row& row);

  std::function<void(const std::string&)> warn_;
  std::string day_;
  std::map<std::string, Row> rows_;  // of day_
};

}  // namespace glowplug::metering
