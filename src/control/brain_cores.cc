// Cores in the brain: how many threads a replica starts with, and how they follow its neighbours.
//
//   a start begins or ends, in_flight 0 <-> more, a replica goes
//       └─▶ share_cores(), once in that turn ──▶ SetThreads for each that works with another number
//                                             and FreezeReplica for batch work without a core
//
// Whoever has nothing to do keeps the number it had, until it works. What cannot be told while it
// runs, a foreign engine, keeps the number of its start and counts all the same.
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"

namespace glowplug::control {
namespace {

// What starts, or is on its way out, is worth having done soon whatever its priority.
policy::Claim claim_of(const BrainState::Replica& replica, Time now) {
  if (!replica.is_batch) return policy::Claim::First;
  const bool yields = replica.takes_calls() && replica.computes != policy::Computes::Elsewhere &&
                      (!replica.freeze || replica.freeze->may_freeze(now));
  return yields ? policy::Claim::Yields : policy::Claim::Beside;
}

}  // namespace

policy::Computes Brain::where_computes(const Generation& generation) const {
  if (!computes_here(generation)) return policy::Computes::Elsewhere;
  return generation.manifest.resources.threads > 0 ? policy::Computes::HereAsDeclared
                                                   : policy::Computes::HereShared;
}

// For a spare, whose neighbours at its next use are not known, all cores.
int Brain::threads_for(const std::string& name, const Generation& generation) const {
  policy::CoreShare share{.cores_total = options_.cores,
                          .threads_requested = generation.manifest.resources.threads};
  const bool is_batch = generation.manifest.priority == domain::Priority::Batch;
  for (const auto& [id, replica] : replicas_) {
    if (replica.is_batch && !is_batch) continue;  // it yields
    // One that drains gives its cores back soon, and a foreign engine keeps its grant for life.
    if (name.empty() || replica.state == domain::State::Draining || !replica.works()) continue;
    add_neighbour(share, replica.computes, replica.threads);
  }
  return policy::grant_threads(share);
}

// That it may be set to later. A spare serves any function of its template's.
int Brain::threads_max(const std::string& name, const Generation& generation) const {
  const bool shares = where_computes(generation) == policy::Computes::HereShared;
  return name.empty() || shares ? options_.cores : threads_for(name, generation);
}

void Brain::take_cores_of(Replica& replica, const Generation& generation) {
  give_cores_of(replica);  // of a spare's
  replica.computes = where_computes(generation);
  replica.is_batch = generation.manifest.priority == domain::Priority::Batch;
  replica.follows = replica.computes == policy::Computes::HereShared &&
                    generation.manifest.engine.kind == domain::EngineKind::Llama;
  sharers_ += replica.shares_cores() ? 1 : 0;
}

void Brain::give_cores_of(const Replica& replica) { sharers_ -= replica.shares_cores() ? 1 : 0; }

void Brain::share_cores() {
  const bool due = freeze_review_ && *freeze_review_ <= now_;
  if (!std::exchange(workers_changed_, false) && !due) return;
  freeze_review_.reset();
  if (sharers_ == 0) return;
  std::vector<policy::CoreUser> users;
  std::vector<ReplicaEntry*> working;
  for (ReplicaEntry& entry : replicas_) {
    if (!entry.second.works()) {
      thaw(entry);
      continue;
    }
    users.push_back({entry.second.computes, entry.second.threads, claim_of(entry.second, now_)});
    working.push_back(&entry);
  }
  const std::vector<int> threads = policy::share_cores(options_.cores, users);
  for (std::size_t i = 0; i < working.size(); ++i) {
    auto& [id, replica] = *working[i];
    if (replica.is_batch && replica.in_flight > 0) set_frozen(*working[i], threads[i] == 0);
    // One that starts hears it with its first call.
    const bool hears = replica.follows && replica.in_flight > 0 && threads[i] > 0;
    if (!hears || replica.threads == threads[i]) continue;
    replica.threads = threads[i];
    effects_.list.push_back(SetThreads{id, threads[i]});
  }
}

// It has no batch work any more.
void Brain::thaw(ReplicaEntry& entry) {
  if (entry.second.freeze) set_frozen(entry, false);
  entry.second.freeze.reset();
}

// Told once for each time that it has stood and run enough: short calls of others freeze it often.
void Brain::set_frozen(ReplicaEntry& entry, bool frozen) {
  auto& [id, replica] = entry;
  if (!replica.freeze) replica.freeze.emplace(now_);
  const bool anew = frozen && !replica.freeze->has_stood(now_);
  if (replica.freeze->is_frozen() != frozen) {
    replica.freeze->note(frozen, now_);
    effects_.list.push_back(FreezeReplica{id, frozen});
  }
  if (anew)
    decide(replica.function, "freeze",
           fmt::format("replica {}: batch work yields the cores to others, for {} at most",
                       id.value, format_duration(policy::kFrozenMost)));
  const std::optional<Time> review = replica.freeze->review(now_);
  if (review && (!freeze_review_ || *review < *freeze_review_)) freeze_review_ = review;
}

}  // namespace glowplug::control
