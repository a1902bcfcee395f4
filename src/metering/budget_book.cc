#include "metering/budget_book.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/units.h"
#include "base/utc_day.h"
#include "domain/errors.h"

namespace glowplug::metering {
namespace {

using policy::BudgetState;

std::string in_words(const std::string& function, const BudgetBook::Row& row) {
  return fmt::format("`{}` has cost {} today, and scale.budget.per_day is {}", function,
                     format_micros(row.spent.micros), format_micros(row.per_day.micros));
}

}  // namespace

void BudgetBook::begin_day(WallTime now) {
  std::string day = utc_day(now);
  if (day == day_) return;
  day_ = std::move(day);
  rows_.clear();
}

BudgetBook::Row& BudgetBook::row_of(const std::string& function, WallTime now) {
  begin_day(now);
  return rows_[function];
}

void BudgetBook::restore(const std::string& function, domain::Money spent, WallTime now) {
  row_of(function, now).spent.micros += spent.micros;
}

void BudgetBook::add(const std::string& function, domain::Money cost, domain::Money per_day,
                     WallTime now) {
  Row& row = row_of(function, now);
  row.spent.micros += cost.micros;
  row.per_day = per_day;
  look(function, row);
}

// Told when it changes for the worse; a budget that was raised may be told of again.
void BudgetBook::look(const std::string& function, Row& row) {
  const BudgetState state = policy::budget_state(row.per_day, row.spent);
  if (state > row.told)
    warn_(in_words(function, row) + (state == BudgetState::Spent
                                         ? "; its calls are refused until the day (UTC) is over"
                                         : ""));
  row.told = state;
}

Result<void> BudgetBook::may_call(const domain::Manifest& manifest, WallTime now) {
  const domain::Money per_day = manifest.scale.budget.per_day;
  if (per_day.micros <= 0) return {};
  Row& row = row_of(manifest.name, now);
  row.per_day = per_day;
  look(manifest.name, row);
  if (row.told != BudgetState::Spent) return {};
  const auto minutes = std::chrono::ceil<std::chrono::minutes>(policy::until_next_day(now)).count();
  return Error{std::string(domain::error::kInsufficientQuota),
               fmt::format("{}; its calls are answered again after 00:00 UTC, in {} h {} min, or "
                           "once the budget is raised.",
                           in_words(manifest.name, row), minutes / 60, minutes % 60),
               ""};
}

domain::Money BudgetBook::spent(const std::string& function, WallTime now) {
  begin_day(now);
  const auto row = rows_.find(function);
  return row == rows_.end() ? domain::Money{} : row->second.spent;
}

void BudgetBook::each(WallTime now,
                      const std::function<void(const std::string&, const Row&)>& visit) {
  begin_day(now);
  for (const auto& [function, row] : rows_) visit(function, row);
}

}  // namespace glowplug::metering
