// Room in the brain: what is idle, what it is worth to keep, and which of it goes.
#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"

namespace glowplug::control {

// Of the function, and of what its replica was forked from.
void Brain::note_visit(const std::string& name, Function& function, const Replica& replica) {
  if (visited_ == name) return;
  visited_ = name;
  ++visits_;
  policy::note_visit(function.visits, visits_);
  const auto note = [this](domain::ProcessId id) {
    const auto held = templates_.find(id);
    if (held != templates_.end()) policy::note_visit(held->second.visits, visits_);
  };
  if (replica.from) note(*replica.from);
  if (replica.base && replica.base != replica.from) note(*replica.base);
}

double Brain::likely(const policy::Visits& visits) const {
  if (options_.eviction == EvictionOrder::LastUse)  // none is worth more than another
    return -std::numeric_limits<double>::infinity();
  return policy::log2_likely(visits, visits_);
}

// Of a spare nothing: another is there in no time.
policy::Kept Brain::kept(const ReplicaEntry& entry) const {
  const Replica& replica = entry.second;
  policy::Kept one{.process = entry.first,
                   .from = replica.from,
                   .base = replica.base,
                   .bytes = replica.host_bytes(),
                   .last_used = replica.last_used};
  if (const auto held = templates_.find(replica.from.value_or(entry.first));
      replica.is_spare() && held != templates_.end())
    one.log2_likely = likely(held->second.visits);
  const auto found = functions_.find(replica.function);
  if (found == functions_.end()) return one;
  const Function& function = found->second;
  one.log2_likely = likely(function.visits);
  const Generation* generation = serving_generation(function, replica.revision);
  one.is_held = generation == nullptr;  // of one that is to take over
  if (generation == nullptr) generation = coming_generation(function, replica.revision);
  if (generation == nullptr) return one;
  const bool loads_again = replica.from && !templates_.contains(*replica.from);
  one.saves = generation->began_in + (loads_again ? generation->load_time : Duration(0));
  int before = 0;  // of its kind, which stay rather than it
  each_replica(found->first, replica.revision, [&](const ReplicaEntry& other) {
    const auto rank = [](const ReplicaEntry& of) {
      return std::tuple(of.second.in_flight > 0, of.second.last_used, of.first);
    };
    before += other.second.state != domain::State::Draining && rank(other) > rank(entry);
  });
  one.is_held |= before < held_replicas(function, *generation);
  return one;
}

std::vector<domain::ProcessId> Brain::stoppable_replicas() const {
  std::vector<domain::ProcessId> ready;
  for (const auto& [id, replica] : replicas_)
    if ((replica.state == domain::State::Ready && !replica.is_turning()) ||
        (replica.is_spare() && replica.state == domain::State::Loading))
      ready.push_back(id);
  return ready;
}

std::vector<policy::Kept> Brain::idle_replicas() const {
  std::vector<policy::Kept> idle;
  for (const domain::ProcessId id : stoppable_replicas())
    if (const ReplicaEntry& entry = *replicas_.find(id); entry.second.in_flight == 0)
      idle.push_back(kept(entry));
  return idle;
}

// Those that nothing but the hope of a next call keeps.
std::vector<policy::Kept> Brain::idle_templates(Idle idle) const {
  std::set<domain::ProcessId> busy;
  for (const auto& [id, replica] : replicas_) {
    if (!replica.from || replica.is_spare()) continue;
    if (idle == Idle::NoReplica || replica.in_flight > 0 || replica.state == domain::State::Loading)
      busy.insert({*replica.from, *replica.base});
  }
  const std::set<domain::ProcessId>& awaited = awaited_templates();
  for (const auto& [id, held] : templates_)
    if (held.base && (held.state == domain::State::Loading || awaited.contains(id)))
      busy.insert(*held.base);
  std::vector<policy::Kept> found;
  for (const auto& [id, held] : templates_) {
    if (held.state != domain::State::Ready || busy.contains(id) || awaited.contains(id)) continue;
    found.push_back({.process = id,
                     .layer = held.is_primed() ? policy::Layer::Primed : policy::Layer::Base,
                     .from = held.base,
                     .base = held.base,
                     .bytes = held.bytes,
                     .saves = held.ready - held.started,
                     .log2_likely = likely(held.visits),
                     .is_held = is_held(held),
                     .last_used = held.last_used});
  }
  return found;
}

const std::vector<policy::Kept>& Brain::idle() const {
  return known(memos_.idle, [this] {
    std::vector<policy::Kept> idle = idle_replicas();
    for (policy::Kept& one : idle_templates(Idle::NoWork)) idle.push_back(std::move(one));
    return idle;
  });
}

// False when all that is idle is not enough; then nothing is stopped for nothing.
bool Brain::evict(const std::string& name, std::uint64_t bytes,
                  std::optional<domain::ProcessId> template_kept,
                  const std::optional<policy::Contender>& contender) {
  std::vector<policy::Kept> others;
  std::set<std::optional<domain::ProcessId>> stay;  // templates
  if (template_kept) stay = {template_kept, templates_.at(*template_kept).base};
  std::uint64_t all = 0;
  for (const policy::Kept& one : idle()) {  // replicas come before templates
    const auto replica = replicas_.find(one.process);
    if (replica != replicas_.end()) {
      if (keeps_its_turn(*replica, contender, Stays::Template)) stay.insert({one.from, one.base});
      if (keeps_its_turn(*replica, contender, Stays::Replica)) continue;
    }
    if (stay.contains(one.process)) continue;
    others.push_back(one);
    all += one.bytes;
  }
  if (all < bytes) return false;
  const auto evicted = policy::choose_evictions(others, bytes);
  if (!evicted) return false;
  for (const policy::Kept& one : *evicted) {
    const std::string reason = fmt::format("evicted: {} needed by {}; idle, {}",
                                           format_bytes(bytes), name, policy::worth_in_words(one));
    if (const auto held = templates_.find(one.process); held != templates_.end())
      drop_template(*held, reason);
    else
      drain(*replicas_.find(one.process), reason);
  }
  return true;
}

void Brain::keep_templates_within_budget() {
  std::uint64_t all = 0;
  for (const auto& [id, one] : templates_) all += one.bytes;
  if (all <= options_.template_bytes) return;
  const std::vector<policy::Kept> idle = idle_templates(Idle::NoReplica);
  std::uint64_t held = 0;
  for (const policy::Kept& one : idle) held += one.bytes;
  for (const policy::Kept& one : policy::eviction_order(idle)) {
    if (held <= options_.template_bytes || one.is_held) return;
    held -= one.bytes;
    drop_template(*templates_.find(one.process),
                  fmt::format("idle templates may hold {}; {}",
                              format_bytes(options_.template_bytes), policy::worth_in_words(one)));
  }
}

}  // namespace glowplug::control
