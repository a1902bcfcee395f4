// Cache domains in the brain: which replica may answer whom, when a domain gets one of its own, and
// when a copy of its prompt state is kept.
#include <algorithm>
#include <chrono>
#include <set>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/limits.h"
#include "policy/cache_domains.h"

namespace glowplug::control {
namespace {

// Idle for this long, a replica's prompt state is copied: a crash then costs nothing.
constexpr Duration kKeepAfterIdle = std::chrono::seconds(5);

}  // namespace

// For a call that must have it to itself: an idle one, else, where it is blocked, the one that will
// be idle soonest.
Brain::ReplicaEntry* Brain::best_replica(const std::string& name, const Waiting& waiting) {
  std::vector<policy::FreeReplica> free;
  ReplicaEntry* least_busy = nullptr;
  for (ReplicaEntry* entry : replicas_of(name)) {
    const Replica& replica = entry->second;
    if (replica.revision != waiting.revision || !replica.takes_calls() || replica.alone ||
        replica.clears || (replica.serves() && *replica.serves() != waiting.domain)) {
      continue;
    }
    if (waiting.alone && replica.in_flight > 0) {
      if (least_busy == nullptr || replica.in_flight < least_busy->second.in_flight)
        least_busy = entry;
      continue;
    }
    if (replica.free_slots() < waiting.weight) continue;
    free.push_back({.replica = entry->first,
                    .serves_caller = replica.serves().has_value(),
                    .retired = replica.retired,
                    .in_flight = replica.in_flight,
                    .shared_bytes = replica.prompts.shared_bytes(waiting.prompt)});
  }
  const auto chosen = policy::choose_replica(free);
  if (chosen) return &*replicas_.find(*chosen);
  return least_busy != nullptr && is_blocked(name, waiting) ? least_busy : nullptr;
}

// A call that must have a replica to itself: all that it may have are busy with others, and none is
// coming or runs another such call, after which it comes.
bool Brain::is_blocked(const std::string& name, const Waiting& waiting) const {
  const std::deque<Waiting>& all = functions_.at(name).waiting;
  const bool another_is_first = std::any_of(all.begin(), all.end(), [&](const Waiting& one) {
    return one.revision == waiting.revision && one.domain != waiting.domain &&
           one.arrived <= waiting.arrived && !has_replica(name, one);
  });
  bool busy = false, comes = false;
  each_replica(name, waiting.revision, [&](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    if (replica.state == domain::State::Draining) return;
    if (replica.serves() && *replica.serves() != waiting.domain) return;
    const bool shared = replica.takes_calls() && replica.in_flight > 0 && !replica.alone;
    const bool is_anothers =
        another_is_first && replica.state == domain::State::Loading && !replica.serves();
    busy |= shared;
    comes |= !shared && !is_anothers;
  });
  return busy && !comes;
}

// Where load could have one more replica, such a call gets it, and nobody is kept from a busy one.
void Brain::start_beside(const std::string& name, Function& function, Generation& generation) {
  if (!unserved(name, generation).beside) return;
  const int live = live_replicas(name, generation.revision);
  const int most = std::max(1, generation.manifest.scale.max);
  if (live >= most || room_to_grow(name, generation, 1).replicas < 1) return;
  ensure_started(name, function, generation);
  if (live_replicas(name, generation.revision) > live) grant_waiting(name, function);
}

// One that is there and will answer it, if not now.
bool Brain::has_replica(const std::string& name, const Waiting& waiting) const {
  bool found = false;
  each_replica(name, waiting.revision, [&](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    found |= replica.state == domain::State::Ready &&
             (!replica.serves() || *replica.serves() == waiting.domain);
  });
  return found;
}

void Brain::bind(ReplicaEntry& entry, const domain::CacheDomain& domain) {
  entry.second.domain = domain;
  const Generation* served = generation_of(entry.second.function, entry.second.revision);
  if (served != nullptr && policy::has_prompt_state(served->manifest))
    effects_.list.push_back(BindReplica{entry.first, domain});
}

const Brain::Unserved& Brain::unserved(const std::string& name,
                                       const Generation& generation) const {
  return known(generation.unserved, [&, this] { return find_unserved(name, generation); });
}

// Replicas that are bound to nobody yet count for the domains that wait longest.
Brain::Unserved Brain::find_unserved(const std::string& name, const Generation& generation) const {
  const Function& function = functions_.at(name);
  if (function.waiting.empty()) return {};
  Unserved found;
  for (const Waiting& one : function.waiting)
    found.beside |= one.alone && one.revision == generation.revision && is_blocked(name, one);
  DomainRefs served;
  std::size_t unbound = 0;
  for (const ReplicaEntry* entry : replicas_of(name)) {
    const Replica& replica = entry->second;
    const bool live =
        replica.state == domain::State::Loading || replica.state == domain::State::Ready;
    if (replica.revision != generation.revision || !live) continue;
    if (replica.serves())
      served.insert(&*replica.serves());
    else
      ++unbound;
  }
  std::vector<const Waiting*> oldest;  // of each domain; calls wait in the order of their arrival
  const domain::CacheDomain* last = nullptr;  // most often the next is of the same
  for (const Waiting& one : function.waiting) {
    if (one.revision != generation.revision || (last != nullptr && *last == one.domain)) continue;
    last = &one.domain;
    if (served.insert(last).second) oldest.push_back(&one);
  }
  if (oldest.size() <= unbound) return found;
  found.domains = static_cast<int>(oldest.size() - unbound);
  found.since = oldest[unbound]->arrived;
  found.first = oldest[unbound]->domain;
  return found;
}

// Whether a call of this function waits for this very replica.
bool Brain::serves_waiting(const std::string& name, const Function& function,
                           const Replica& replica) const {
  if (replica.function != name) return false;
  return std::any_of(function.waiting.begin(), function.waiting.end(),
                     [&replica](const Waiting& one) {
                       return one.revision == replica.revision &&
                              (!replica.serves() || *replica.serves() == one.domain);
                     });
}

// Where scale.max or the function's budget is reached and a domain waits, an idle replica of
// another goes; where all are busy, the one granted longest ago gets no new calls once the wait is
// longer than a turn. The budget is that of all revisions.
void Brain::make_place(const std::string& name, const Generation& generation) {
  const int most = std::max(1, generation.manifest.scale.max);
  const std::optional<Time> since = unserved(name, generation).since;
  if (!since) return;
  const bool at_max = live_replicas(name, generation.revision) >= most;
  const auto room = own_room(name, functions_.at(name), generation, 1, Counted::Staying);
  if (!at_max && (room.replicas == 1 || is_beyond_budget(functions_.at(name), generation))) return;
  const std::string reached =
      at_max ? "scale.max" : fmt::format("scale.budget.{}", policy::to_string(room.limit));
  const char* who = at_max ? "another cache domain" : "another cache domain or revision";
  ReplicaEntry *idle = nullptr, *busy = nullptr;
  for (ReplicaEntry* entry : replicas_of(name)) {
    const Replica& replica = entry->second;
    if (replica.state != domain::State::Ready) continue;
    if (replica.revision != generation.revision && (at_max || replica.is_turning())) continue;
    if (coming_generation(functions_.at(name), replica.revision) != nullptr) continue;
    if (replica.in_flight == 0 && serves_waiting(name, functions_.at(name), replica)) continue;
    ReplicaEntry*& earliest = replica.in_flight > 0 ? busy : idle;
    if (earliest == nullptr || replica.last_used < earliest->second.last_used) earliest = entry;
  }
  const Duration waited = now_ - *since;
  if (idle != nullptr)
    drain(*idle, fmt::format("{} waits and {} is reached", who, reached));
  else if (busy != nullptr && waited >= domain::kTurn)
    drain(*busy, fmt::format("gets no new calls: {} has waited {} and {} is reached", who,
                             format_duration(waited), reached));
}

void Brain::keep_idle_state() {
  for (const FunctionEntry* function : stirring_) {
    for (ReplicaEntry* entry : replicas_of(function->first)) {
      const auto at = keep_time_of(entry->second);
      if (!at || *at > now_) continue;
      entry->second.kept = true;
      effects_.list.push_back(KeepState{entry->first});
    }
  }
}

std::optional<Time> Brain::keep_time_of(const Replica& replica) const {
  if (replica.state != domain::State::Ready || replica.in_flight > 0 || !replica.domain ||
      replica.kept)
    return std::nullopt;
  const auto function = functions_.find(replica.function);
  if (function == functions_.end()) return std::nullopt;
  const Generation* served = serving_generation(function->second, replica.revision);
  if (served == nullptr || !policy::has_prompt_state(served->manifest)) return std::nullopt;
  return replica.idle_since + kKeepAfterIdle;
}

}  // namespace glowplug::control
