// Whose turn it is, in the brain: in which order waiting functions start, which busy replica makes
// room for them, and which call is told at once that it would wait too long.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/errors.h"
#include "policy/autoscaler.h"
#include "policy/wait_forecast.h"

namespace glowplug::control {

policy::Contender Brain::contender(const Function& function, const Generation& generation,
                                   Time since) {
  policy::Contender one{.priority = generation.manifest.priority,
                        .since = since,
                        .start_cost = generation.start_time + generation.load_time};
  for (const Waiting& waiting : function.waiting)
    if (waiting.revision == generation.revision) one.waiting += waiting.weight;
  return one;
}

// Those whose calls wait, by the scheduler, and then those that nobody waits for.
std::vector<Brain::FunctionEntry*> Brain::start_order() const {
  std::vector<FunctionEntry*> waiting, others;
  std::vector<policy::Contender> contenders;
  for (FunctionEntry* entry : stirring_) {
    const Function& function = entry->second;
    (function.waiting.empty() ? others : waiting).push_back(entry);
    if (!function.waiting.empty())
      contenders.push_back(contender(function, function.current, function.waiting.front().arrived));
  }
  std::vector<FunctionEntry*> order;
  for (const std::size_t at : policy::start_order(contenders, now_)) order.push_back(waiting[at]);
  order.insert(order.end(), others.begin(), others.end());
  return order;
}

const std::vector<Brain::Holder>& Brain::holders() const {
  return known(memos_.holders, [this] {
    std::vector<Holder> holders;
    for (const domain::ProcessId id : stoppable_replicas()) {
      const ReplicaEntry& entry = *replicas_.find(id);
      if (!entry.second.is_spare())
        holders.push_back({.entry = &entry, .resident = resident(entry)});
    }
    return holders;
  });
}

policy::Resident Brain::resident(const ReplicaEntry& entry) const {
  const Replica& replica = entry.second;
  policy::Resident one{.replica = entry.first,
                       .priority = domain::Priority::Batch,
                       .ready = replica.ready,
                       .last_granted = replica.last_used};
  if (replica.is_resting()) one.idle_since = replica.idle_since;
  if (const auto found = functions_.find(replica.function); found != functions_.end())
    one.pauses = found->second.pauses;
  if (const Generation* its = generation_of(replica.function, replica.revision)) {
    one.priority = its->manifest.priority;
    one.start_cost = its->start_time + its->load_time;
  }
  return one;
}

std::optional<policy::Contender> Brain::contender(const std::string& name,
                                                  const Generation& generation) const {
  const std::optional<Time> since = unserved(name, generation).since;
  if (!since) return std::nullopt;
  return contender(functions_.at(name), generation, *since);
}

// The replica, or the template behind it. Who makes room for nobody in particular is kept by
// nothing.
bool Brain::keeps_its_turn(const ReplicaEntry& entry,
                           const std::optional<policy::Contender>& contender, Stays what) const {
  const Replica& replica = entry.second;
  if (!contender || !replica.is_resting() || now_ - replica.ready >= policy::kStarving)
    return false;  // no turn lasts longer
  const policy::Resident one = resident(entry);
  const bool forks = replica.from && templates_.contains(*replica.from);
  const Generation* its = generation_of(replica.function, replica.revision);
  const Duration back_in =
      forks && what == Stays::Replica && its != nullptr ? its->start_time : one.start_cost;
  return policy::keeps_its_turn(one, *contender, back_in, now_);
}

// Who keeps its turn through a pause may go when that is over.
void Brain::await_pauses(const std::string& name, const Generation& generation) {
  const std::optional<policy::Contender> waits = contender(name, generation);
  if (!waits) return;
  for (const Holder& one : holders())
    await_turn(functions_.at(name), policy::pause_end(one.resident, *waits, now_));
}

void Brain::await_turn(Function& function, std::optional<Time> at) {
  if (at) function.turn = std::min(*at, function.turn.value_or(*at));
}

// What only busy replicas hold is waited for; then one of those that have what is wanted gets no
// new work.
void Brain::let_one_give_way(const std::string& name, Function& function,
                             const Generation& generation, const Wanted& wanted) {
  const std::optional<Time> since = unserved(name, generation).since;
  if (!since) return;
  std::vector<policy::Resident> others;
  for (const Holder& one : holders()) {
    const auto& [id, other] = *one.entry;
    if (serves_waiting(name, function, other)) continue;
    if (!wanted.devices.empty() && !pool_.is_on_any(id, wanted.devices)) continue;
    if (wanted.what == Scarce::Money && other.per_hour.micros == 0) continue;
    others.push_back(one.resident);
  }
  const policy::Contender waits = contender(function, generation, *since);
  const auto victim = policy::choose_to_give_way(others, waits, now_);
  if (!victim) return await_turn(function, policy::next_turn(others, waits, now_));
  ReplicaEntry& entry = *replicas_.find(*victim);
  if (Function* gives = find(entry.second.function)) {
    gives->gave_way_to = name;
    gives->gave_way = now_;
  }
  function.gave_way_to.clear();
  drain(entry, fmt::format("gets no new calls: {} has waited {} for {}", name,
                           format_duration(now_ - *since),
                           wanted.what == Scarce::Memory   ? "its memory"
                           : wanted.what == Scarce::Device ? "its device"
                                                           : "its part of budget_per_hour"));
}

void Brain::claim(const std::string& name, const Generation& generation, const Claim& what) {
  const std::optional<Time> since = unserved(name, generation).since;
  if (!since || !policy::has_claim(*since, now_)) return;
  const auto own = std::find_if(turn_.claims.begin(), turn_.claims.end(),
                                [&name](const Claim& one) { return one.by == name; });
  Claim& claim = own == turn_.claims.end() ? turn_.claims.emplace_back(Claim{.by = name}) : *own;
  claim.bytes = std::max(claim.bytes, what.bytes);
  claim.per_hour = std::max(claim.per_hour, what.per_hour);
  claim.devices.insert(claim.devices.end(), what.devices.begin(), what.devices.end());
}

Brain::Claim Brain::claimed_before(const std::string& name) const {
  Claim sum;
  for (const Claim& one : turn_.claims) {
    if (one.by == name) continue;
    sum.bytes += one.bytes;
    sum.per_hour.micros += one.per_hour.micros;
    sum.devices.insert(sum.devices.end(), one.devices.begin(), one.devices.end());
  }
  return sum;
}

// What was given up for another's wait is not taken back before that is over; where it lasts for
// long, no longer.
bool Brain::lets_another_start(const Function& function) const {
  const auto other = functions_.find(function.gave_way_to);
  if (other == functions_.end() || now_ - function.gave_way >= policy::kStarving) return false;
  bool waits = false;
  each_serving(other->second, [&, this](const Generation& generation) {
    const std::optional<Time> since = unserved(other->first, generation).since;
    const int most = std::max(1, generation.manifest.scale.max);
    waits |= since && *since <= function.gave_way && !cannot_start(generation) &&
             live_replicas(other->first, generation.revision) < most &&
             own_room(other->first, other->second, generation, 1, Counted::All).replicas == 1;
  });
  return waits;
}

// What a call behind so many waits for: the replicas that there are, and those that load may bring.
std::optional<Duration> Brain::expected_wait(const std::string& name, const Generation& generation,
                                             const Waiting& call, int ahead, Growth growth) const {
  policy::WaitFacts facts{.ahead = ahead, .weight = call.weight, .service = generation.service};
  std::optional<Duration> start_left;
  each_replica(name, generation.revision, [&](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    if (replica.serves() && *replica.serves() != call.domain) return;
    if (replica.takes_calls()) {
      facts.slots += replica.slots;
      facts.slots_free += std::max(0, replica.free_slots());
    } else if (replica.shown_state() == domain::State::Loading) {
      facts.slots_coming += replica.slots;
      const Duration left = std::max(Duration(0), generation.start_time - (now_ - replica.started));
      start_left = start_left ? std::min(*start_left, left) : left;
    }
  });
  if (growth == Growth::Counts) {
    const int live = live_replicas(name, generation.revision);
    const int more = generation.manifest.scale.max - live;
    const int room = more > 0 ? room_to_grow(name, generation, more).replicas : 0;
    facts.slots_coming += room * generation.manifest.slots;
    const Duration start = scale_clock_.real(policy::kScaleTick) + generation.start_time;
    if (room > 0) start_left = start_left ? std::min(*start_left, start) : start;
  }
  facts.start_left = start_left.value_or(Duration(0));
  return policy::expected_wait(facts);
}

// Refused at once rather than late: what would wait beyond its deadline, also where the replicas
// that load may still bring came at once.
bool Brain::refuse_hopeless(const std::string& name, const Function& function,
                            const Generation& generation, const Waiting& call) {
  const Duration allowed = call.deadline - now_;
  const int ahead = ahead_of(function, generation, call);
  std::optional<Duration> wait;
  for (const Growth growth : {Growth::No, Growth::Counts}) {
    wait = expected_wait(name, generation, call, ahead, growth);
    if (!wait || *wait <= allowed) return false;
  }
  refuse(call.call,
         {std::string(domain::error::kServerIsOverloaded),
          fmt::format("`{}` would take this call in about {} ({} wait, an answer takes {}), and it "
                      "may wait for {}",
                      name, format_duration(*wait), function.waiting.size(),
                      format_duration(generation.service.mean), format_duration(allowed)),
          ""},
         policy::retry_after_s(*wait, allowed, call.call.value));
  return true;
}

// A place in a full queue is free once one more call is granted.
int Brain::queue_retry_s(const std::string& name, const Generation& generation,
                         const Waiting& call) const {
  constexpr Duration kUnknown = std::chrono::seconds(2);
  const auto wait = expected_wait(name, generation, call, 0, Growth::No);
  return policy::retry_after_s(wait.value_or(kUnknown), Duration(0), call.call.value);
}

}  // namespace glowplug::control
