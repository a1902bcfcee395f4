// Load in the brain: what the calls of each revision do to it is counted as they come and go, and
// while they do its autoscaler is asked every two seconds how many replicas it wants.
//
// What it wants more is started where memory and cores are free; nothing is evicted for it, and
// nothing is started while others wait for room. What it wants less retires, and stops once no call
// is on it. The first call wakes a function without asking, and when the last replica of a cache
// domain goes is for keep_alive to say.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "policy/admission.h"
#include "policy/growth.h"
#include "policy/scale_down.h"

namespace glowplug::control {
namespace {

constexpr Duration kStable = std::chrono::seconds(policy::kStableSeconds);
constexpr Duration kForgotten = kStable + std::chrono::seconds(1);  // what the window has seen

// The same for all functions, so that one turn asks all of them.
Time next_tick(Time at) {
  const auto ticks = at.time_since_epoch() / policy::kScaleTick;
  return Time((ticks + 1) * policy::kScaleTick);
}

// The window of one that does not is worth nothing after a still minute.
bool remembers(const Scaling& scaling) { return scaling.policy == domain::ScalePolicy::Predictive; }

}  // namespace

policy::ScaleDownCandidate Brain::candidate(const ReplicaEntry& entry) {
  const auto& [id, replica] = entry;
  return {.replica = id,
          .in_flight = replica.in_flight,
          .prompts_worth = static_cast<double>(std::min(replica.granted, replica.slots)),
          .group = {},
          .last_used = replica.last_used};
}

void Brain::note_arrival(Generation& generation) {
  if (!generation.scaling) generation.scaling = std::make_unique<Scaling>();
  Scaling& scaling = *generation.scaling;
  const Time at = scale_clock_.at(now_);
  scaling.stopped = false;
  scaling.window.note_arrival(at);
  if (scaling.next > scale_clock_.real(next_tick(at))) scaling.ask_at(next_tick(at), scale_clock_);
}

void Brain::note_request(Generation& generation, policy::Start start) {
  if (generation.scaling) generation.scaling->window.note_request(scale_clock_.at(now_), start);
}

void Brain::on(const AnswerBegan& event) {
  const auto function = functions_.find(event.function);
  if (function == functions_.end()) return;
  Generation* served = serving_generation(function->second, event.revision);
  if (served != nullptr && served->scaling)
    served->scaling->window.note_first_token(scale_clock_.at(now_), event.after);
}

// From what there is, not from what came and went: a call that changes its revision, or whose
// replica dies, is counted right all the same.
void Brain::note_load(const std::string& name, Function& function) {
  const Time at = scale_clock_.at(now_);
  each_serving(function, [&](Generation& generation) {
    if (!generation.scaling) return;
    int slots = 0, live = 0;
    for (const Waiting& one : function.waiting)
      if (one.revision == generation.revision) slots += one.weight;
    each_replica(name, generation.revision, [&slots, &live](const ReplicaEntry& entry) {
      const Replica& replica = entry.second;
      slots += replica.alone ? replica.slots : replica.in_flight;
      live += replica.state != domain::State::Draining;
    });
    Scaling& scaling = *generation.scaling;
    if (!scaling.autoscaler || scaling.policy != generation.manifest.scale.policy) {
      scaling.policy = generation.manifest.scale.policy;
      scaling.autoscaler = policy::make_autoscaler(scaling.policy);
    }
    const int before = scaling.window.concurrency();
    scaling.window.set_concurrency(at, slots);
    if (before == 0 && slots > 0) scaling.autoscaler->note_busy(at);
    if (slots > 0) return;
    if (before > 0) scaling.autoscaler->note_idle(at);
    hold_what_load_wants(name, function, generation);
    if (before > 0 && !remembers(scaling) && live <= 1)
      scaling.ask_at(at + kForgotten, scale_clock_);  // when the last one goes is not asked
  });
}

void Brain::scale_by_load() {
  for (FunctionEntry* entry : stirring_) {
    auto& [name, function] = *entry;
    note_load(name, function);
    if (draining_) continue;
    each_serving(function, [&, &name = name, &function = function](Generation& generation) {
      if (!generation.scaling || generation.scaling->next > now_) return;
      scale(name, function, generation);
      ask_again(name, generation);
    });
  }
}

void Brain::scale(const std::string& name, Function& function, Generation& generation) {
  note_load(name, function);
  Scaling& scaling = *generation.scaling;
  const policy::LoadFacts facts = load_facts(name, function, generation);
  scaling.wish = scaling.autoscaler->decide(facts, scale_clock_.at(now_));
  const int missing = scaling.wish->wanted - facts.live;
  const bool loaded = scaling.window.concurrency() > 0;
  if (missing > 0 && !scaling.stopped && (loaded || scaling.is_ahead()))
    recall_or_grow(name, function, generation, missing);
  else
    scaling.told.reset();
  // Those on their way take no calls yet, so they replace nothing.
  if (missing < 0) retire(name, generation, facts.ready - std::max(1, scaling.wish->wanted));
  hold_what_load_wants(name, function, generation);
}

// Every two seconds while there are calls, or more replicas than the one that keep_alive ends.
void Brain::ask_again(const std::string& name, Generation& generation) {
  Scaling& scaling = *generation.scaling;
  const Time at = scale_clock_.at(now_);
  const int live = live_replicas(name, generation.revision);
  const bool still = scaling.window.is_still(at);
  const bool waits = scaling.is_ahead() && live < scaling.wish->wanted && !scaling.stopped;
  if (scaling.window.concurrency() > 0 || waits || (!still && (remembers(scaling) || live > 1)))
    return scaling.ask_at(next_tick(at), scale_clock_);
  if (remembers(scaling))
    return scaling.ask_at(scaling.autoscaler->review(at).value_or(Time::max()), scale_clock_);
  scaling.ask_at(still ? Time::max() : at + kForgotten, scale_clock_);
  if (still) generation.scaling.reset();
}

// Those with a call now or since then.
Brain::Domains Brain::domains_since(const std::string& name, const Function& function,
                                    const Generation& generation, Time since) const {
  Domains domains;
  for (const Waiting& one : function.waiting)
    if (one.revision == generation.revision) domains.insert(one.domain);
  each_replica(name, generation.revision, [&domains, since](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    if (replica.domain && (replica.in_flight > 0 || replica.last_used > since))
      domains.insert(*replica.domain);
  });
  return domains;
}

// Replicas of a domain without a call in the stable window answer nobody else: they are no
// capacity.
policy::LoadFacts Brain::load_facts(const std::string& name, const Function& function,
                                    const Generation& generation) const {
  policy::MetricsWindow& window = generation.scaling->window;
  const Time at = scale_clock_.at(now_);
  const bool loads_first = may_fork(generation) && origin_of(generation) == nullptr;
  const Duration start = generation.start_time + (loads_first ? generation.load_time : Duration(0));
  policy::LoadFacts facts{.least = held_replicas(function, generation),
                          .most = std::max(1, generation.manifest.scale.max),
                          .slots = generation.manifest.slots,
                          .start_time = scale_clock_.of(start),
                          .stable = window.over(policy::kStableSeconds, at),
                          .panic = window.over(policy::kPanicSeconds, at)};
  for (const Waiting& one : function.waiting)
    facts.queue += one.revision == generation.revision ? 1 : 0;
  const Domains domains =
      domains_since(name, function, generation, now_ - scale_clock_.real(kStable));
  each_replica(name, generation.revision, [&facts, &domains](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    const domain::State state = replica.shown_state();
    const bool live = state == domain::State::Loading || state == domain::State::Ready;
    if (!live || replica.retired || (replica.domain && !domains.contains(*replica.domain))) return;
    ++facts.live;
    facts.ready += replica.takes_calls() ? 1 : 0;
  });
  return facts;
}

// Those that sleep are woken by the calls that wait for them, before anything more is started.
void Brain::recall_or_grow(const std::string& name, Function& function, Generation& generation,
                           int missing) {
  missing -= recall(name, generation, missing);
  int asleep = 0, live = 0;
  each_replica(name, generation.revision, [&asleep, &live](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    live += replica.state != domain::State::Draining;
    asleep += replica.state == domain::State::Ready && replica.shown_state() == domain::State::Cold;
  });
  missing = std::min(missing, std::max(1, generation.manifest.scale.max) - live) - asleep;
  if (missing > 0) grow(name, function, generation, missing);
}

int Brain::recall(const std::string& name, const Generation& generation, int missing) {
  std::vector<policy::ScaleDownCandidate> retired;
  each_replica(name, generation.revision, [&retired](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    if (replica.takes_calls() && replica.retired) retired.push_back(candidate(entry));
  });
  int recalled = 0;
  for (; recalled < missing; ++recalled) {
    const auto back = policy::choose_to_recall(retired);
    if (!back) break;
    replicas_.at(*back).retired = false;
    decide(name, "recall",
           fmt::format("replica {}: {}", back->value, in_words(*generation.scaling->wish)));
    std::erase_if(retired, [&back](const auto& one) { return one.replica == *back; });
  }
  return recalled;
}

void Brain::grow(const std::string& name, Function& function, Generation& generation, int missing) {
  Scaling& scaling = *generation.scaling;
  const Room room = room_to_grow(name, generation, missing);
  const Scaling::Told told{scaling.wish->wanted, room.replicas, room.replicas < missing};
  const Scaling::Told before = scaling.told.value_or(Scaling::Told{});
  const bool starts = told.room > 0 && (told.wanted != before.wanted || told.room != before.room);
  if (starts || (told.too_few && !before.too_few))  // what cannot be followed is told once
    decide(name, "scale",
           told.too_few
               ? fmt::format("{}; {} more wanted, room for {}: {}", in_words(*scaling.wish),
                             missing, told.room, room.why_not_more)
               : in_words(*scaling.wish));
  scaling.told = told;
  for (int left = room.replicas; left > 0; --left, --scaling.told->room) {
    const int live = live_replicas(name, generation.revision);
    if (room_to_grow(name, generation, 1).replicas < 1) return;
    ensure_started(name, function, generation);
    if (live_replicas(name, generation.revision) == live) return;  // its template comes first
  }
}

// By all its own replicas, and by those of others that start or have work and do not yield.
int Brain::cores_taken(const std::string& name, const Generation& generation) const {
  int taken = 0;
  const bool is_batch = generation.manifest.priority == domain::Priority::Batch;
  for (const auto& [id, replica] : replicas_) {
    if (replica.is_batch && !is_batch && replica.function != name) continue;
    const bool starts = replica.state == domain::State::Loading && !replica.is_spare();
    const bool ours = replica.function == name && replica.takes_calls();  // it is to work, too
    if (!starts && !ours && replica.in_flight == 0) continue;
    const auto function = functions_.find(replica.function);
    const Generation* of = function == functions_.end()
                               ? nullptr
                               : serving_generation(function->second, replica.revision);
    if (of == nullptr || computes_here(*of)) taken += replica.threads;
  }
  return taken;
}

Brain::Room Brain::room_to_grow(const std::string& name, const Generation& generation,
                                int wanted) const {
  if (cannot_start(generation)) return {0, "a start has just failed"};
  if (device_is_held(name)) return {0, "an engine that did not sleep holds its device"};
  if (turn_.short_of_room) return {0, "others wait for memory"};
  if (lets_another_start(functions_.at(name))) return {0, "it is another's turn"};
  if (generation.model != Model::Prepared) return {0, "its model is not prepared"};
  // The first one is worth having whoever else works: it waits for its call.
  const int taken =
      live_replicas(name, generation.revision) == 0 ? 0 : cores_taken(name, generation);
  const bool on_accelerator = is_on_accelerator(generation);
  std::uint64_t bytes = on_accelerator ? host_bytes(generation) : replica_bytes(generation);
  if (may_fork(generation)) {
    const bool loads_first = origin_of(generation) == nullptr;
    bytes = loads_first ? loading_bytes(generation) : forked_bytes(generation);
    std::uint64_t held = loads_first ? template_bytes(generation) : 0;
    for (const auto& [id, other] : templates_) held += other.bytes;
    if (loads_first && held > options_.template_bytes)
      return {0, "its template would push another out"};
  }
  const std::uint64_t reserved = std::min(options_.memory_bytes, reserved_bytes());
  policy::GrowthFacts facts{.threads_each = threads_for(name, generation),
                            .cores_total = options_.cores,
                            .cores_taken = taken,
                            .bytes_each = bytes,
                            .bytes_free = options_.memory_bytes - reserved};
  if (!computes_here(generation)) {
    facts.threads_each = 1;
    facts.cores_total = wanted;
    facts.cores_taken = 0;
  }
  const policy::GrowthRoom room = policy::growth_room(facts, wanted);
  std::string why;
  if (room.limit == policy::GrowthLimit::Cores)
    why = fmt::format("each takes {} of {} cores, {} are taken", facts.threads_each,
                      facts.cores_total, taken);
  if (room.limit == policy::GrowthLimit::Memory)
    why = fmt::format("each takes {}, {} are free", format_bytes(bytes),
                      format_bytes(facts.bytes_free));
  const Room there = room_on_devices(name, generation, {room.replicas, std::move(why)});
  return room_in_budget(name, generation, there);
}

void Brain::retire(const std::string& name, const Generation& generation, int surplus) {
  if (surplus <= 0) return;
  std::map<domain::CacheDomain, std::uint64_t> groups;
  std::vector<policy::ScaleDownCandidate> serving;
  each_replica(name, generation.revision, [&](const ReplicaEntry& entry) {
    const Replica& replica = entry.second;
    if (!replica.takes_calls() || replica.retired) return;
    serving.push_back(candidate(entry));
    if (replica.serves())
      serving.back().group = groups.emplace(*replica.serves(), groups.size()).first->second;
  });
  for (const domain::ProcessId id : policy::choose_to_retire(serving, surplus)) {
    replicas_.at(id).retired = true;
    decide(name, "retire",
           fmt::format("replica {}: {}", id.value, in_words(*generation.scaling->wish)));
  }
}

// scale.max has become less: the emptiest get no new calls, whomever they serve.
void Brain::keep_max(const std::string& name, const Generation& generation) {
  std::vector<policy::ScaleDownCandidate> live;
  each_replica(name, generation.revision, [&live](const ReplicaEntry& entry) {
    if (entry.second.state != domain::State::Draining) live.push_back(candidate(entry));
  });
  const int most = std::max(1, generation.manifest.scale.max);
  for (const domain::ProcessId id :
       policy::choose_to_retire(live, static_cast<int>(live.size()) - most))
    drain(*replicas_.find(id), fmt::format("scale.max is {} now", most));
}

// While there are calls, one that is idle between two of them stays beyond its keep_alive where
// the load wants it, or it would go and come again. Not for a domain that has no call now.
void Brain::hold_what_load_wants(const std::string& name, const Function& function,
                                 Generation& generation) {
  const Scaling& scaling = *generation.scaling;
  const bool holds = scaling.window.concurrency() > 0 && scaling.wish && scaling.wish->wanted > 1;
  const Time at = scale_clock_.at(now_);
  const Time until = holds ? scale_clock_.real(next_tick(at) + policy::kScaleTick) : Time{};
  Domains busy;
  if (holds) busy = domains_since(name, function, generation, Time::max());
  each_replica(name, generation.revision, [&busy, until](ReplicaEntry& entry) {
    Replica& replica = entry.second;
    const bool counts = !replica.retired && (!replica.domain || busy.contains(*replica.domain));
    replica.load_wants_it_until = counts ? until : Time{};
  });
}

std::optional<ScaleView> Brain::scale_view(const Generation& generation) const {
  const Scaling* scaling = generation.scaling.get();
  if (scaling == nullptr || !scaling->wish) return std::nullopt;
  if (scaling->window.is_still(scale_clock_.at(now_)) && !scaling->is_ahead()) return std::nullopt;
  return ScaleView{scaling->policy, scaling->wish->wanted, in_words(*scaling->wish)};
}

}  // namespace glowplug::control
