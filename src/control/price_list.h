// What a replica costs an hour where it may be placed, and what may never be paid for: no price, or
// more than a budget has altogether. What is taken of budgets now is the brain's (brain_budget.cc).
//
// Thread: values, pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "domain/manifest.h"
#include "domain/price.h"
#include "policy/allocator.h"

namespace glowplug::control {

class PriceList final {
 public:
  PriceList(domain::PriceTable prices, domain::Money budget_per_hour);  // of all; 0 = none

  // Where there is no price nothing is started that is to be paid for: see payable_ever().
  domain::Money cost_of(const std::string& type, int count) const;
  domain::Money cost_of(const policy::Placement& place) const;
  const policy::Placement& cheapest(const std::vector<policy::Placement>& places) const;

  // Those that a replica may ever be paid for on; an error where that is none.
  Result<std::vector<policy::Placement>> payable_ever(const std::string& name,
                                                      const domain::Budget& own,
                                                      std::vector<policy::Placement> places) const;

 private:
  domain::PriceTable prices_;
  domain::Money budget_per_hour_;
};

Result<void> may_ever_reserve(const std::string& name, const domain::Budget& own,
                              std::uint64_t bytes);

}  // namespace glowplug::control
