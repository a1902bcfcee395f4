// Cores in the brain: how many threads a replica starts with, and how they follow its neighbours.
//
//   a start begins or ends, in_flight 0 <-> more, a replica goes
//       └─▶ share_cores(), once in that turn ──▶ SetThreads for each that works with another number
//
// Whoever has nothing to do keeps the number it had, until it works. What cannot be told while it
// runs, a foreign engine, keeps the number of its start and counts all the same.
#include <utility>
#include <vector>

#include "control/brain.h"

namespace glowplug::control {

policy::Computes Brain::where_computes(const Generation& generation) const {
  if (!computes_here(generation)) return policy::Computes::Elsewhere;
  return generation.manifest.resources.threads > 0 ? policy::Computes::HereAsDeclared
                                                   : policy::Computes::HereShared;
}

// For a spare, whose neighbours at its next use are not known, all cores.
int Brain::threads_for(const std::string& name, const Generation& generation) const {
  policy::CoreShare share{.cores_total = options_.cores,
                          .threads_requested = generation.manifest.resources.threads};
  for (const auto& [id, replica] : replicas_) {
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

void Brain::take_cores_of(Replica& replica, const Generation& generation) const {
  replica.computes = where_computes(generation);
  replica.follows = replica.computes == policy::Computes::HereShared &&
                    generation.manifest.engine.kind == domain::EngineKind::Llama;
}

void Brain::share_cores() {
  if (!std::exchange(workers_changed_, false)) return;
  std::vector<policy::CoreUser> users;
  std::vector<ReplicaEntry*> working;
  for (ReplicaEntry& entry : replicas_) {
    if (!entry.second.works()) continue;
    users.push_back({entry.second.computes, entry.second.threads});
    working.push_back(&entry);
  }
  const std::vector<int> threads = policy::share_cores(options_.cores, users);
  for (std::size_t i = 0; i < working.size(); ++i) {
    auto& [id, replica] = *working[i];
    // One that starts hears it with its first call.
    if (!replica.follows || replica.in_flight == 0 || replica.threads == threads[i]) continue;
    replica.threads = threads[i];
    effects_.list.push_back(SetThreads{id, threads[i]});
  }
}

}  // namespace glowplug::control
