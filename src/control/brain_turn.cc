// Which functions a turn of the brain looks at: those that stir. A function comes to rest when
// nothing is left to do for it, and stirs again with an event of its own or when its timer is due.
#include <algorithm>

#include "control/brain.h"
#include "domain/limits.h"
#include "policy/schedule.h"

namespace glowplug::control {

void Brain::stir_due() {
  for (auto due = timers_.begin(); due != timers_.end() && due->first <= now_; ++due)
    stir(*due->second);
}

// What they hold may have gone.
void Brain::stir_holding() { stirring_.insert(holding_.begin(), holding_.end()); }

void Brain::forget(FunctionEntry& entry) {
  set_timer(entry, std::nullopt);
  stirring_.erase(&entry);
  holding_.erase(&entry);
  functions_.erase(functions_.find(entry.first));
}

void Brain::let_rest() {
  for (auto stirring = stirring_.begin(); stirring != stirring_.end();) {
    FunctionEntry& entry = **stirring;
    if (holds_anything(entry.second))
      holding_.insert(&entry);
    else
      holding_.erase(&entry);
    set_timer(entry, timer_of(entry));
    stirring =
        options_.rests && is_at_rest(entry) ? stirring_.erase(stirring) : std::next(stirring);
  }
}

bool Brain::is_at_rest(const FunctionEntry& entry) const {
  const Function& function = entry.second;
  return !function.next && !waits_for_a_start(entry) && !lacks_a_prime(function) &&
         !lacks_what_it_holds(entry);
}

// Calls that wait only for what is on its way to them, or for a slot, are helped by events of their
// own function alone.
bool Brain::waits_for_a_start(const FunctionEntry& entry) const {
  const auto& [name, function] = entry;
  bool waits = false;
  each_serving(function, [&, &name = name](const Generation& generation) {
    const Unserved& some = unserved(name, generation);
    waits |= some.domains > 0 || some.beside;
  });
  return waits;
}

// Whether a template could be primed for it now, but for cores, memory and the budget.
bool Brain::lacks_a_prime(const Function& function) const {
  bool lacks = false;
  each_serving(function, [&](const Generation& generation) {
    if (generation.manifest.prime.empty() && generation.learned.empty()) return;
    const bool wanted = function.calls > 0 || holds_template(function, generation);
    if (!wanted || !may_fork(generation)) return;
    const TemplateEntry* base = template_of(generation);
    if (base == nullptr || base->second.state != domain::State::Ready) return;
    lacks |= !generation.manifest.prime.empty() && primed_of(generation) == nullptr;
    for (const Learned& one : generation.learned)
      lacks |= learned_of(generation, one.prime.domain) == nullptr;
  });
  return lacks;
}

std::optional<Time> Brain::timer_of(const FunctionEntry& entry) const {
  const auto& [name, function] = entry;
  std::optional<Time> timer;
  const auto consider = [&timer](Time at) { timer = timer ? std::min(*timer, at) : at; };
  if (!function.waiting.empty()) consider(function.first_deadline);
  const auto patient = std::partition_point(
      function.waiting.begin(), function.waiting.end(),
      [this](const Waiting& one) { return one.arrived + domain::kTurn <= now_; });
  if (patient != function.waiting.end()) consider(patient->arrived + domain::kTurn);
  for (const std::optional<Time>& at :
       {function.warm_until, function.template_until, function.turn})
    if (at && *at > now_ && *at != Time::max()) consider(*at);
  if (!function.gave_way_to.empty() && !function.waiting.empty())
    if (const Time end = function.gave_way + policy::kStarving; end > now_) consider(end);
  each_serving(function, [&, &name = name, &function = function](const Generation& generation) {
    if (const auto& since = unserved(name, generation).since)
      consider(policy::next_claim_change(*since, now_));
    if (const auto change = policy::next_change(generation.manifest.schedule, wall_))
      consider(now_ + (*change - wall_));
    if (!draining_ && generation.scaling && generation.scaling->next != Time::max())
      consider(generation.scaling->next);
    if (!cannot_start(generation)) return;
    if (!function.waiting.empty() || held_replicas(function, generation) > 0 ||
        holds_template(function, generation))
      consider(generation.failure->forgotten_at);
  });
  // A device that is out of quarantine may be what it waits for.
  if (const auto trial = pool_.next_trial(now_); trial && !is_at_rest(entry)) consider(*trial);
  for (const ReplicaEntry* one : replicas_of(name)) {
    const Replica& replica = one->second;
    if (!replica.is_resting()) continue;
    if (const auto stop = stop_time_of(replica)) consider(*stop);
    if (const auto sleep = sleep_time_of(replica)) consider(*sleep);
    if (const auto keep = keep_time_of(replica)) consider(*keep);
  }
  return timer;
}

void Brain::set_timer(FunctionEntry& entry, std::optional<Time> at) {
  std::optional<Time>& timer = entry.second.timer;
  if (timer == at) return;
  if (timer) timers_.erase({*timer, &entry});
  timer = at;
  if (timer) timers_.emplace(*timer, &entry);
}

std::optional<Time> Brain::next_wake() const {
  std::optional<Time> wake = spare_wake();
  if (freeze_review_ && (!wake || *freeze_review_ < *wake)) wake = freeze_review_;
  if (!timers_.empty() && (!wake || timers_.begin()->first < *wake)) wake = timers_.begin()->first;
  return wake;
}

}  // namespace glowplug::control
