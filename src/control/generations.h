// What can be said of a function's generations by themselves: which one serves, takes a call, loads
// from a template; everything else about them is the brain's.
//
// Thread: functions of the brain's values, which keep nothing but what was worked out of them.
#pragma once

#include <vector>

#include "control/brain_state.h"
#include "domain/learned_prime.h"
#include "domain/manifest.h"
#include "policy/traffic.h"

namespace glowplug::control {

template <typename Any, typename Visit>  // of a Function that is const or not
void each_serving(Any& function, const Visit& visit) {
  visit(function.current);
  for (auto& generation : function.beside) visit(generation);
}
template <typename Any, typename Visit>
void each_generation(Any& function, const Visit& visit) {  // also of the next
  each_serving(function, visit);
  if (function.next)
    for (auto& generation : function.next->fresh) visit(generation);
}

// Null where it is none of these.
BrainState::Generation* serving_generation(BrainState::Function& function, int revision);
const BrainState::Generation* serving_generation(const BrainState::Function& function,
                                                 int revision);
const BrainState::Generation* coming_generation(const BrainState::Function& function, int revision);

std::vector<policy::Share> shares_of(const BrainState::Function& function);
// Of a split that of the revision with most calls counts for all.
const domain::Budget& budget_of(const BrainState::Function& function,
                                const BrainState::Generation& generation);

// The call waits for a replica of this one.
void assign(BrainState::Waiting& waiting, const BrainState::Generation& generation);

// Worked out once of a manifest and its model's facts: see Generation::set_manifest, set_facts.
const BrainState::Accounts& accounts_of(const BrainState::Generation& generation);

bool has_learned(const BrainState::Generation& generation, const domain::LearnedPrime& prime);
// Whether replicas of the one may come from the other.
bool may_use(const BrainState::Template& held, const BrainState::Generation& generation);

bool grows(const BrainState::Generation& generation);  // it tries to start what its load wants
// Replicas that a forecast holds although nobody calls.
int ahead_of_calls(const BrainState::Generation& generation);

}  // namespace glowplug::control
