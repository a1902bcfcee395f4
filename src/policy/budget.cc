#include "policy/budget.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::policy {
namespace {

constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

std::uint64_t micros(domain::Money money) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, money.micros));
}

// How many more of `each` fit where `budget` bounds them; kAll where nothing does.
std::uint64_t fit(std::uint64_t budget, std::uint64_t spent, std::uint64_t each) {
  if (budget == 0 || each == 0) return kAll;
  return (budget - std::min(budget, spent)) / each;
}

bool is_within(const domain::Budget& budget, const Spend& spent) {
  return (budget.memory_bytes == 0 || spent.memory_bytes <= budget.memory_bytes) &&
         (budget.per_hour.micros == 0 || spent.per_hour <= budget.per_hour);
}

}  // namespace

Spend operator+(const Spend& a, const Spend& b) {
  Spend sum;
  if (__builtin_add_overflow(a.memory_bytes, b.memory_bytes, &sum.memory_bytes))
    sum.memory_bytes = kAll;
  if (__builtin_add_overflow(a.per_hour.micros, b.per_hour.micros, &sum.per_hour.micros))
    sum.per_hour.micros = std::numeric_limits<std::int64_t>::max();
  return sum;
}

std::optional<domain::Money> cost_per_hour(const domain::PriceTable& prices, std::string_view type,
                                           int count) {
  const domain::DevicePrice* row = domain::find_price(prices, type);
  if (row == nullptr) return std::nullopt;
  domain::Money cost;
  if (__builtin_mul_overflow(row->price.per_hour.micros, count, &cost.micros))
    cost.micros = std::numeric_limits<std::int64_t>::max();
  return cost;
}

BudgetRoom budget_room(const domain::Budget& budget, const Spend& spent, const Spend& each,
                       int wanted) {
  BudgetRoom room{.replicas = std::max(0, wanted)};
  const auto bound = [&room](std::uint64_t by, BudgetLimit limit) {
    if (by < static_cast<std::uint64_t>(room.replicas)) room = {static_cast<int>(by), limit};
  };
  bound(fit(budget.memory_bytes, spent.memory_bytes, each.memory_bytes), BudgetLimit::Memory);
  bound(fit(micros(budget.per_hour), micros(spent.per_hour), micros(each.per_hour)),
        BudgetLimit::Money);
  return room;
}

std::size_t budget_surplus(const domain::Budget& budget, std::span<const Spend> replicas) {
  Spend kept;
  std::size_t stay = 0;
  while (stay < replicas.size()) {
    const Spend with = kept + replicas[replicas.size() - 1 - stay];
    if (stay > 0 && !is_within(budget, with)) break;
    kept = with;
    ++stay;
  }
  return replicas.size() - stay;
}

std::string_view to_string(BudgetLimit limit) {
  return limit == BudgetLimit::Memory ? "memory" : limit == BudgetLimit::Money ? "per_hour" : "";
}

std::string in_words(BudgetLimit limit, const domain::Budget& budget, const Spend& spent,
                     const Spend& each) {
  if (limit == BudgetLimit::Memory)
    return fmt::format("memory is {}, {} are taken and each is {}",
                       format_bytes(budget.memory_bytes), format_bytes(spent.memory_bytes),
                       format_bytes(each.memory_bytes));
  return fmt::format("per_hour is {}, {} are taken and each is {}",
                     format_micros(budget.per_hour.micros), format_micros(spent.per_hour.micros),
                     format_micros(each.per_hour.micros));
}

}  // namespace glowplug::policy
