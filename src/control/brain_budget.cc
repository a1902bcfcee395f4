// Budgets in the brain: what replicas cost and reserve together, of one function (scale.budget) and
// of all (budget_per_hour), and what follows where one more is too much.
//
//   never any room ──▶ refused, by the field, the need and what to do
//   no room now ─────▶ of its own function's: as at scale.max (make_place, keep_budget);
//                      of everybody's: what is idle stops for a call, unless it keeps its turn;
//                      then something busy gives way
//
// A replica counts from its start until it is gone. Where a revision takes over from another, its
// first replica may be started beside those of the old one, whatever the function's budget says.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"

namespace glowplug::control {
namespace {

// Of replicas: what calls cost on a day is their callers' affair.
bool is_bounded(const domain::Budget& budget) {
  return budget.memory_bytes > 0 || budget.per_hour.micros > 0;
}

policy::Placement on_cpu() {
  return {.type = std::string(domain::kCpu), .reason = {}, .devices = {}};
}

// What it has inherited of its template is shared: see Brain::inherit().
policy::Spend spend_of(const BrainState::Replica& replica) {
  const std::uint64_t shared = std::min(replica.memory_bytes, replica.account.inherited);
  return {.memory_bytes = replica.memory_bytes - shared, .per_hour = replica.per_hour};
}

}  // namespace

// --- what things cost ---

domain::Money Brain::cost_on(const policy::Allocation* on) const {
  if (on == nullptr || on->devices.empty()) return prices_.cost_of(std::string(domain::kCpu), 1);
  return prices_.cost_of(pool_.ledger().device(on->devices.front()).type,
                         static_cast<int>(on->devices.size()));
}

policy::Spend Brain::spent_by(const std::string& name, Counted counted) const {
  policy::Spend sum;
  for (const ReplicaEntry* entry : replicas_of(name))
    if (counted == Counted::All || entry->second.state != domain::State::Draining)
      sum = sum + spend_of(entry->second);
  return sum;
}

const policy::Spend& Brain::spent_by_all(Counted counted) const {
  return known(memos_.spent[counted], [this, counted] {
    policy::Spend sum;
    for (const auto& [id, replica] : replicas_) {
      const bool leaves = replica.state == domain::State::Draining &&
                          (counted == Counted::Staying ||
                           (counted == Counted::StayingAWhile && replica.in_flight == 0));
      if (!replica.is_spare() && !leaves) sum = sum + spend_of(replica);
    }
    return sum;
  });
}

// Of its next replica: on accelerators of the cheapest that it may have.
policy::Spend Brain::next_spend(const Function& function, const Generation& generation) const {
  policy::Spend spend{
      .memory_bytes = may_fork(generation) ? forked_bytes(generation) : replica_bytes(generation),
      .per_hour = cost_on(nullptr)};
  if (!is_on_accelerator(generation)) return spend;
  const auto places = placements(function, generation);
  if (places && !places->empty()) spend.per_hour = prices_.cost_of(prices_.cheapest(*places));
  return spend;
}

// --- not now ---

policy::BudgetRoom Brain::own_room(const std::string& name, const Function& function,
                                   const Generation& generation, int wanted,
                                   Counted counted) const {
  const domain::Budget& budget = budget_of(function, generation);
  if (!is_bounded(budget) || generation.model != Model::Prepared) return {.replicas = wanted};
  return policy::budget_room(budget, spent_by(name, counted), next_spend(function, generation),
                             wanted);
}

// Whatever goes, its next replica is more than that of its function.
bool Brain::is_beyond_budget(const Function& function, const Generation& generation) const {
  return policy::budget_room(budget_of(function, generation), {}, next_spend(function, generation),
                             1)
             .replicas == 0;
}

// What other revisions of a split are to have first: their calls have waited longer, or this one
// has none.
policy::Spend Brain::awaited_before(const std::string& name, const Function& function,
                                    const Generation& generation) const {
  policy::Spend awaited;
  const std::optional<Time> since = unserved(name, generation).since;
  each_serving(function, [&, this](const Generation& other) {
    if (&other == &generation || cannot_start(other) || other.model != Model::Prepared) return;
    const std::optional<Time> waits = unserved(name, other).since;
    if (waits && (!since || *waits < *since) && !is_beyond_budget(function, other))
      awaited = awaited + next_spend(function, other);
  });
  return awaited;
}

// Whether there is room for these bytes too, of a spare that is handed over.
bool Brain::own_budget_holds(const std::string& name, const Generation& generation,
                             const Replica& spare) const {
  const Function& function = functions_.at(name);
  const domain::Budget& budget = budget_of(function, generation);
  return coming_generation(function, generation.revision) != nullptr ||
         policy::budget_room(budget, spent_by(name, Counted::All), spend_of(spare), 1).replicas ==
             1;
}

bool Brain::own_budget_allows(const std::string& name, const Function& function,
                              const Generation& generation, const policy::Spend& each) {
  const domain::Budget& budget = budget_of(function, generation);
  const bool takes_over = coming_generation(function, generation.revision) != nullptr &&
                          live_replicas(name, generation.revision) == 0;
  if (!is_bounded(budget) || takes_over) return true;
  const policy::Spend spent =
      spent_by(name, Counted::All) + awaited_before(name, function, generation);
  const policy::BudgetRoom room = policy::budget_room(budget, spent, each, 1);
  if (room.replicas == 1) return true;
  if (unserved(name, generation).domains > 0 ||
      coming_generation(function, generation.revision) != nullptr)
    tell_budget(
        name, [&] { return "scale.budget." + policy::in_words(room.limit, budget, spent, each); });
  return false;
}

// What a call waits for, or a new revision, is told once.
void Brain::tell_budget(const std::string& name, const std::function<std::string()>& why) {
  Function& function = functions_.at(name);
  if (!std::exchange(function.told_budget, true))
    decide(name, "wait", fmt::format("budget: {}", why()));
}

// True when a replica may be started now on this machine; a function that may never be is failed.
bool Brain::may_spend(const std::string& name, Function& function, Generation& generation,
                      std::uint64_t bytes) {
  const domain::Budget& budget = budget_of(function, generation);
  auto allowed = may_ever_reserve(name, budget, bytes);
  if (allowed)
    if (const auto payable = prices_.payable_ever(name, budget, {on_cpu()}); !payable)
      allowed = payable.error();
  if (!allowed) {
    generation.forks_fail = false;  // a fork may do with less
    fail(name, function, generation, allowed.error());
    return false;
  }
  const policy::Spend each{.memory_bytes = bytes, .per_hour = cost_on(nullptr)};
  return own_budget_allows(name, function, generation, each) &&
         make_budget_room(name, generation, each.per_hour);
}

// Of these those that may be paid for now; where there are none, room is made for the cheapest.
std::vector<policy::Placement> Brain::payable_now(const std::string& name, Function& function,
                                                  const Generation& generation,
                                                  std::vector<policy::Placement> places) {
  const domain::Budget& own = budget_of(function, generation);
  const domain::Budget all{.per_hour = options_.budget_per_hour};
  if (!is_bounded(own) && !is_bounded(all)) return places;
  const policy::Placement least = prices_.cheapest(places);
  const std::uint64_t bytes = replica_bytes(generation);
  const policy::Spend each{.memory_bytes = bytes, .per_hour = prices_.cost_of(least)};
  if (!own_budget_allows(name, function, generation, each) ||
      !make_budget_room(name, generation, each.per_hour))
    return {};
  const policy::Spend own_spent = spent_by(name, Counted::All);
  const policy::Spend all_spent = spent_by_all(Counted::All);
  const bool takes_over = coming_generation(function, generation.revision) != nullptr;
  std::erase_if(places, [&, this](const policy::Placement& place) {
    const policy::Spend one{.memory_bytes = bytes, .per_hour = prices_.cost_of(place)};
    return (!takes_over && policy::budget_room(own, own_spent, one, 1).replicas == 0) ||
           policy::budget_room(all, all_spent, one, 1).replicas == 0;
  });
  return places;
}

// True where all replicas together leave so much of budget_per_hour. Otherwise, for a call, what is
// idle, and does not keep its turn, stops where that is enough, the least worth for its money
// first; and after a while of what is busy one gets no new calls.
bool Brain::make_budget_room(const std::string& name, const Generation& generation,
                             domain::Money cost) {
  const domain::Budget budget{.per_hour = options_.budget_per_hour};
  if (budget.per_hour.micros == 0 || cost.micros == 0) return true;
  Function& function = functions_.at(name);
  const bool called = unserved(name, generation).domains > 0;
  // Room that was made is for whoever calls, not for what is held ahead of calls.
  if (turn_.budget_is_awaited && !called) return false;
  const policy::Spend each{.per_hour = cost};
  const domain::Money claimed = claimed_before(name).per_hour;
  const policy::Spend wanted{.per_hour = {cost.micros + claimed.micros}};
  const auto has_room = [&](Counted counted) {
    return policy::budget_room(budget, spent_by_all(counted), wanted, 1).replicas == 1;
  };
  if (has_room(Counted::All)) return true;
  turn_.budget_is_awaited |= called;
  const bool comes = coming_generation(function, generation.revision) != nullptr;
  if (!called && !comes) return false;
  tell_budget(name, [&, this] {
    return "budget_" +
           policy::in_words(policy::BudgetLimit::Money, budget, spent_by_all(Counted::All), each);
  });
  claim(name, generation, {.by = name, .per_hour = cost});
  if (wanted.per_hour > budget.per_hour) return false;  // a claim ends
  if (has_room(Counted::StayingAWhile)) return false;
  const std::int64_t staying = spent_by_all(Counted::StayingAWhile).per_hour.micros;
  if (evict_for_money(name, staying + wanted.per_hour.micros - budget.per_hour.micros,
                      contender(name, generation)))
    return false;
  await_pauses(name, generation);
  if (has_room(Counted::Staying)) return false;
  let_one_give_way(name, function, generation, {.what = Scarce::Money});
  return false;
}

bool Brain::evict_for_money(const std::string& name, std::int64_t micros,
                            const std::optional<policy::Contender>& contender) {
  std::vector<policy::Kept> idle;
  for (const policy::Kept& one : idle_replicas()) {
    const ReplicaEntry& entry = *replicas_.find(one.process);
    const Replica& replica = entry.second;
    if (replica.is_spare() || replica.per_hour.micros == 0) continue;
    if (keeps_its_turn(entry, contender, Stays::Replica)) continue;
    idle.push_back(one);
    idle.back().bytes = static_cast<std::uint64_t>(replica.per_hour.micros);
  }
  const auto evicted = policy::choose_evictions(idle, static_cast<std::uint64_t>(micros));
  if (!evicted) return false;
  for (const policy::Kept& one : *evicted)
    drain(*replicas_.find(one.process),
          fmt::format("evicted: budget: {} of budget_per_hour needed by {}; idle, {}",
                      format_micros(micros), name, policy::worth_in_words(one)));
  return true;
}

// What load may start, less what is not to be paid for.
Brain::Room Brain::room_in_budget(const std::string& name, const Generation& generation,
                                  Room room) const {
  if (room.replicas == 0) return room;
  const Function& function = functions_.at(name);
  const domain::Budget& own = budget_of(function, generation);
  const domain::Budget all{.per_hour = options_.budget_per_hour};
  if (!is_bounded(own) && !is_bounded(all)) return room;
  const policy::Spend each = next_spend(function, generation);
  const policy::Spend by_own = spent_by(name, Counted::All);
  if (const auto left = policy::budget_room(own, by_own, each, room.replicas);
      left.replicas < room.replicas)
    room = {left.replicas, fmt::format("budget: scale.budget.{}",
                                       policy::in_words(left.limit, own, by_own, each))};
  if (!is_bounded(all) || each.per_hour.micros == 0) return room;
  if (turn_.budget_is_awaited) return {0, "budget: others wait for their part of budget_per_hour"};
  const policy::Spend by_all = spent_by_all(Counted::All);
  const auto left = policy::budget_room(all, by_all, {.per_hour = each.per_hour}, room.replicas);
  if (left.replicas < room.replicas)
    room = {left.replicas,
            fmt::format("budget: budget_{}", policy::in_words(left.limit, all, by_all, each))};
  return room;
}

// The function's budget has become less, or one of its replicas more: the emptiest get no new
// calls, whomever they serve. The last one stays.
void Brain::keep_budget(const std::string& name, const Function& function) {
  const domain::Budget& budget = function.current.manifest.scale.budget;
  if (!is_bounded(budget)) return;
  std::vector<policy::ScaleDownCandidate> live;
  for (const ReplicaEntry* entry : replicas_of(name)) {
    const Replica& replica = entry->second;
    if (replica.state != domain::State::Draining &&
        serving_generation(function, replica.revision) != nullptr)
      live.push_back(candidate(*entry));
  }
  const std::vector<domain::ProcessId> order =
      policy::choose_to_retire(live, static_cast<int>(live.size()));
  std::vector<policy::Spend> spends;
  policy::Spend sum;
  for (const domain::ProcessId id : order) {
    spends.push_back(spend_of(replicas_.at(id)));
    sum = sum + spends.back();
  }
  const std::size_t surplus = policy::budget_surplus(budget, spends);
  const bool by_memory = budget.memory_bytes > 0 && sum.memory_bytes > budget.memory_bytes;
  const auto limit = by_memory ? policy::BudgetLimit::Memory : policy::BudgetLimit::Money;
  for (std::size_t i = 0; i < surplus; ++i)
    drain(*replicas_.find(order[i]),
          fmt::format("budget: scale.budget.{}", policy::in_words(limit, budget, sum, spends[i])));
}

void Brain::keep_budget_of(const Replica& replica) {
  if (const auto function = functions_.find(replica.function); function != functions_.end())
    keep_budget(function->first, function->second);
}

// Why what is to be held ahead of calls is not all there.
std::string Brain::budget_fault(const std::string& name, const Function& function) const {
  const int held = std::min(held_replicas(function, function.current),
                            std::max(1, function.current.manifest.scale.max));
  const int live = live_replicas(name, function.current.revision);
  if (live >= held || cannot_start(function.current) || function.current.model != Model::Prepared)
    return {};
  const Room room = room_in_budget(name, function.current, {held - live, {}});
  if (room.why_not_more.empty()) return {};
  return fmt::format("holds {} of {} replicas: {}", live, held, room.why_not_more);
}

}  // namespace glowplug::control
