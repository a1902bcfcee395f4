// Calls that wait, in the brain: in which order they are granted, and what each tenant has had.
#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/errors.h"

namespace glowplug::control {
namespace {

constexpr int kOverloadRetrySeconds = 5;

}  // namespace

double Brain::slot_seconds(const Generation& generation, int weight) {
  return weight * to_seconds(generation.service.mean);
}

policy::QueuedCall Brain::queued(const Waiting& call, const Generation* its) const {
  return {.tenant = call.caller.tenant,
          .slot_seconds = its ? slot_seconds(*its, call.weight) : 0,
          .gives_way = call.urgency == domain::JobUrgency::Batch &&
                       policy::still_gives_way(now_ - call.arrived, call.deadline - call.arrived)};
}

std::vector<policy::QueuedCall> Brain::queued(const Function& function) const {
  std::vector<policy::QueuedCall> calls;
  calls.reserve(function.waiting.size());
  for (const Waiting& one : function.waiting)
    calls.push_back(queued(one, serving_generation(function, one.revision)));
  return calls;
}

// Which call's turn it is, policy/fair_shares says; with nothing to choose by, as they came.
std::vector<std::size_t> Brain::grant_order(const Function& function) const {
  const auto& waiting = function.waiting;
  const bool alike = std::all_of(waiting.begin(), waiting.end(), [&](const Waiting& one) {
    return one.caller.tenant == waiting.front().caller.tenant &&
           one.urgency == waiting.front().urgency;
  });
  if (!alike) return function.shares.order(queued(function));
  std::vector<std::size_t> as_they_came(waiting.size());
  std::iota(as_they_came.begin(), as_they_came.end(), std::size_t{0});
  return as_they_came;
}

void Brain::note_tenant(const std::string& name, Function& function, const Waiting& call) {
  if (has_work(name, function))
    function.shares.arrived(call.caller.tenant, queued(function));
  else
    function.shares.clear();
}

void Brain::note_had(const Call& call) {
  const auto found = functions_.find(call.function);
  if (found == functions_.end()) return;
  const double had = call.weight * to_seconds(now_ - call.granted);
  found->second.shares.ended(call.tenant, had - call.charged);
}

// The weights of the calls that are granted before it, were it to wait.
int Brain::ahead_of(const Function& function, const Generation& generation,
                    const Waiting& call) const {
  std::vector<policy::QueuedCall> calls;
  std::vector<int> weights;
  const auto add = [&](const Waiting& one) {
    calls.push_back(queued(one, &generation));
    weights.push_back(one.weight);
  };
  for (const Waiting& one : function.waiting)
    if (one.revision == call.revision && one.domain == call.domain) add(one);
  add(call);
  int ahead = 0;
  for (const std::size_t at : function.shares.order(calls)) {
    if (at + 1 == calls.size()) break;
    ahead += weights[at];
  }
  return ahead;
}

void BrainState::Function::note_left() {
  first_deadline = Time::max();
  for (const Waiting& one : waiting) first_deadline = std::min(first_deadline, one.deadline);
}

void Brain::refuse_expired(const std::string& name, Function& function) {
  if (function.first_deadline > now_) return;
  std::vector<Waiting> expired;  // each generation has a queue_timeout of its own
  std::erase_if(function.waiting, [this, &expired](const Waiting& waiting) {
    if (waiting.deadline > now_) return false;
    expired.push_back(waiting);
    return true;
  });
  function.note_left();
  for (const Waiting& waiting : expired) {
    Generation* generation = serving_generation(function, waiting.revision);
    if (generation != nullptr)
      note_request(*generation, awake_replicas(name, waiting.revision) > 0 ? policy::Start::None
                                                                           : policy::Start::Waited);
    refuse(waiting.call,
           {std::string(domain::error::kServerIsOverloaded),
            fmt::format("no replica of `{}` became free within {}; it is {}", name,
                        format_duration(now_ - waiting.arrived),
                        to_string(status_of(name, function).state)),
            ""},
           generation ? queue_retry_s(name, *generation, waiting) : kOverloadRetrySeconds);
  }
}

bool Brain::has_work(const std::string& name, const Function& function) const {
  const std::vector<ReplicaEntry*>& own = replicas_of(name);
  return !function.waiting.empty() ||
         std::any_of(own.begin(), own.end(),
                     [](const ReplicaEntry* entry) { return entry->second.in_flight > 0; });
}

bool Brain::has_free_slot(const std::string& name) const {
  const std::vector<ReplicaEntry*>& all = replicas_of(name);
  return std::any_of(all.begin(), all.end(), [](const ReplicaEntry* entry) {
    return entry->second.takes_calls() && entry->second.free_slots() > 0;
  });
}

void Brain::grant_waiting(const std::string& name, Function& function) {
  refuse_expired(name, function);
  // Nobody waits, or in vain: so it is for nearly all at nearly every event.
  if (function.waiting.empty() || !has_free_slot(name)) return;
  // One that waits does not hold up those of other domains and revisions.
  std::map<int, DomainRefs> held;    // by revision
  ReplicaEntry* clearing = nullptr;  // one at a time, whoever waits for it
  std::vector<bool> granted(function.waiting.size());
  for (const std::size_t at : grant_order(function)) {
    const Waiting& waiting = function.waiting[at];
    if (held[waiting.revision].contains(&waiting.domain)) continue;
    ReplicaEntry* best = best_replica(name, waiting);
    if (best != nullptr && waiting.alone && best->second.in_flight > 0) {
      if (clearing == nullptr) {
        clearing = best;
        clearing->second.clears = true;
      }
      continue;
    }
    if (best == nullptr) {
      if (!waiting.alone) held[waiting.revision].insert(&waiting.domain);
      continue;
    }
    grant(name, function, waiting, *best);
    granted[at] = true;
    if (!has_free_slot(name)) break;
  }
  if (clearing != nullptr) clearing->second.clears = false;
  std::size_t at = 0;
  std::erase_if(function.waiting, [&](const Waiting&) { return granted[at++]; });
  function.note_left();
}

}  // namespace glowplug::control
