// How many replicas a budget has room for: a further maximum beside scale.max, of bytes that they
// reserve together and of money that they cost together by the hour.
//
// A replica costs what its devices cost by the price table, as long as it is there, whether or not
// anybody calls it. The fee for each request is no part of it. Whole micro-units throughout.
//
// Thread: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "domain/manifest.h"
#include "domain/price.h"

namespace glowplug::policy {

// Of one replica, or of several.
struct Spend {
  std::uint64_t memory_bytes = 0;
  domain::Money per_hour = {};
  friend bool operator==(const Spend&, const Spend&) = default;
};
Spend operator+(const Spend& a, const Spend& b);  // at most what can be counted

// Of a replica on `count` devices alike; nothing where their type has no price.
std::optional<domain::Money> cost_per_hour(const domain::PriceTable& prices, std::string_view type,
                                           int count);

enum class BudgetLimit { None, Memory, Money };

struct BudgetRoom {
  int replicas = 0;                       // of those that are wanted
  BudgetLimit limit = BudgetLimit::None;  // why not all
  friend bool operator==(const BudgetRoom&, const BudgetRoom&) = default;
};

// How many more of `each` fit beside what is spent already.
BudgetRoom budget_room(const domain::Budget& budget, const Spend& spent, const Spend& each,
                       int wanted);

// How many of these go, the first ones first, so that the rest are within the budget. The last one
// stays: whether it may be there at all is asked before it starts.
std::size_t budget_surplus(const domain::Budget& budget, std::span<const Spend> replicas);

// What the budget calls the field that is at its limit: "memory" or "per_hour".
std::string_view to_string(BudgetLimit limit);

// "per_hour is 0.100000, 0.100000 are taken and each is 0.050000"; of memory the same in bytes.
std::string in_words(BudgetLimit limit, const domain::Budget& budget, const Spend& spent,
                     const Spend& each);

}  // namespace glowplug::policy
