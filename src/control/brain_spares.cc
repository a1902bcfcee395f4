// Spares in the brain: made behind a start, handed over at the next one.
#include <algorithm>
#include <chrono>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "policy/spares.h"

namespace glowplug::control {
namespace {

constexpr Duration kAfterDeath = std::chrono::minutes(1);  // a spare that died is not made again

// That stay.
int spares_of(const std::vector<BrainState::ReplicaEntry*>& spares, domain::ProcessId id) {
  return static_cast<int>(
      std::count_if(spares.begin(), spares.end(), [id](const BrainState::ReplicaEntry* one) {
        return one->second.from == id && one->second.state != domain::State::Draining;
      }));
}

policy::SpareDemand spare_demand(const BrainState::Template& held, bool cores_busy) {
  return {
      .last_used = held.last_used, .not_before = held.spare_not_before, .cores_busy = cores_busy};
}

}  // namespace

// Its function becomes ready in the next turn, without a process to wait for: once the model's file
// was looked at. What a manifest declares of memory or threads is a start's own: a spare has the
// limits of none.
bool Brain::hand_over(const std::string& name, const Generation& generation,
                      const TemplateEntry& from) {
  const domain::Resources& declared = generation.manifest.resources;
  if (declared.memory_bytes > 0) return false;
  const auto fits = [&, this](const ReplicaEntry* entry) {
    const Replica& replica = entry->second;
    return replica.from == from.first && replica.state == domain::State::Ready &&
           (declared.threads == 0 || declared.threads == replica.threads) &&
           own_budget_holds(name, generation, replica);
  };
  const std::vector<ReplicaEntry*>& spares = replicas_of("");
  const auto found = std::find_if(spares.begin(), spares.end(), fits);
  if (found == spares.end()) return false;
  ReplicaEntry* const spare = *found;
  unlist(*spare);
  Replica& replica = spare->second;
  replica.function = name;
  list(*spare);
  replica.revision = generation.revision;
  replica.slots = generation.manifest.slots;
  take_cores_of(replica, generation);
  replica.started = now_;
  replica.was_spare = true;
  decide(name, "hand-over",
         fmt::format("replica {} of revision {}: a spare of template {}, {} waiting",
                     spare->first.value, generation.revision, from.first.value,
                     functions_.at(name).waiting.size()));
  move_to(replica, domain::State::Loading);
  effects_.list.push_back(AssignReplica{spare->first, name, generation.facts});
  Template& origin = templates_.at(from.first);
  origin.last_used = now_;
  origin.spare_not_before = std::max(origin.spare_not_before, now_);
  return true;
}

void Brain::make_spares() {
  if (draining_ || turn_.short_of_room || options_.spares == 0) return;
  const bool cores_busy = is_computing();
  for (TemplateEntry& entry : templates_) {
    if (entry.second.state != domain::State::Ready ||
        spares_of(replicas_of(""), entry.first) >= options_.spares)
      continue;
    if (!policy::makes_spare(spare_demand(entry.second, cores_busy), now_) || !is_origin(entry))
      continue;
    const Generation of{.manifest = entry.second.manifest, .facts = entry.second.facts};
    const std::uint64_t bytes = forked_bytes(of);
    if (reserved_bytes() + bytes > options_.memory_bytes) continue;  // nothing is evicted for it
    start_replica("", of, bytes, &entry);
  }
}

void Brain::stop_spares(domain::ProcessId of, const std::string& reason) {
  for (ReplicaEntry* entry : replicas_of(""))
    if (entry->second.from == of && entry->second.state != domain::State::Draining)
      drain(*entry, reason);
}

void Brain::stop_unwanted_spares() {
  if (replicas_of("").empty()) return;
  const bool cores_busy = is_computing();
  for (TemplateEntry& entry : templates_) {
    if (spares_of(replicas_of(""), entry.first) == 0) continue;
    if (!policy::keeps_spare(spare_demand(entry.second, cores_busy), now_))
      stop_spares(entry.first, "nobody called lately");
    else if (!is_origin(entry))
      stop_spares(entry.first, "its functions start from a primed template");
  }
}

void Brain::spare_gone(const Replica& spare) {
  const auto found = templates_.find(*spare.from);
  if (found != templates_.end()) found->second.spare_not_before = now_ + kAfterDeath;
}

bool Brain::is_computing() const {
  return std::any_of(replicas_.begin(), replicas_.end(),
                     [](const auto& entry) { return entry.second.works(); });
}

std::optional<Time> Brain::spare_wake() const {
  std::optional<Time> wake;
  if (options_.spares == 0) return wake;
  const bool cores_busy = is_computing();
  for (const auto& [id, held] : templates_) {
    if (held.state != domain::State::Ready) continue;
    const auto at = policy::spare_review(spare_demand(held, cores_busy), now_);
    if (at && *at > now_) wake = wake ? std::min(*wake, *at) : *at;
  }
  return wake;
}

}  // namespace glowplug::control
