// Engines that sleep: an idle replica whose manifest says how gives its device memory back and
// keeps its process. A call that waits for it wakes it.
//
//   Awake ──idle for sleep.after──▶ Falling ──▶ Asleep ──a call waits, warm──▶ Waking ──▶ Awake
//                                      │                                         │
//                                      └── does not ──▶ Failed ◀── does not ─────┘
//
// All of it while the replica is in the state Ready. What is between awake and asleep is neither
// stopped for idleness nor evicted; a stop, a delete and a drain end it in every state. A sleeper
// counts as a replica that is there, and its host memory stays reserved. Failed: it is killed, and
// no other of its function starts before it is gone, because it may hold the device's memory still.
//
// A foreign engine keeps no callers apart, so any sleeper serves any call of its revision.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "policy/keep_alive.h"

namespace glowplug::control {
namespace {

constexpr Duration kSleepAgainAfter = std::chrono::minutes(10);

// How it sleeps, or null when it does not.
const domain::EngineSleep* sleep_of(const domain::Manifest& manifest) {
  const bool foreign = manifest.engine.kind == domain::EngineKind::Process;
  return foreign && manifest.engine.process.sleep ? &*manifest.engine.process.sleep : nullptr;
}

std::string in_words(const domain::EngineSleep& how) {
  if (how.kind == domain::SleepKind::Vllm) return fmt::format("vllm, level {}", how.level);
  return std::string(to_string(how.kind));
}

}  // namespace

domain::State BrainState::Replica::shown_state() const {
  if (state != domain::State::Ready || sleep == Sleep::Awake) return state;
  return sleep == Sleep::Waking ? domain::State::Loading : domain::State::Cold;
}

int Brain::awake_replicas(const std::string& name, int revision) const {
  const std::vector<ReplicaEntry*>& all = replicas_of(name);
  return static_cast<int>(
      std::count_if(all.begin(), all.end(), [revision](const ReplicaEntry* entry) {
        const domain::State state = entry->second.shown_state();
        return entry->second.revision == revision &&
               (state == domain::State::Loading || state == domain::State::Ready);
      }));
}

std::optional<Time> Brain::sleep_time_of(const Replica& replica) const {
  if (!replica.takes_calls() || replica.in_flight > 0) return std::nullopt;
  const auto function = functions_.find(replica.function);
  if (function == functions_.end()) return std::nullopt;
  const Generation* served = serving_generation(function->second, replica.revision);
  const domain::EngineSleep* how = served == nullptr ? nullptr : sleep_of(served->manifest);
  if (how == nullptr) return std::nullopt;
  if (awake_replicas(replica.function, replica.revision) <=
      std::max(scheduled(*served).replicas, ahead_of_calls(*served)))
    return std::nullopt;  // itself among them
  const auto at = policy::sleep_time({.idle_since = replica.idle_since,
                                      .after = how->after,
                                      .held_until = function->second.warm_until});
  return at ? std::max(*at, served->sleep_not_before) : at;
}

void Brain::let_sleep() {
  for (const FunctionEntry* function : stirring_) {
    for (ReplicaEntry* entry : replicas_of(function->first)) {
      Replica& replica = entry->second;
      const std::optional<Time> at = sleep_time_of(replica);
      if (!at || *at > now_) continue;
      const domain::EngineSleep how =
          *sleep_of(serving_generation(function->second, replica.revision)->manifest);
      replica.sleep = Sleep::Falling;
      decide(replica.function, "sleep",
             fmt::format("replica {}: idle for {} ({})", entry->first.value,
                         format_duration(now_ - replica.idle_since), in_words(how)));
      effects_.list.push_back(SleepReplica{entry->first, how});
    }
  }
}

// One at a time for the calls that found no place, the one used last; and as many as `warm` holds.
void Brain::wake_sleepers(const std::string& name, const Function& function,
                          const Generation& generation) {
  const domain::EngineSleep* how = sleep_of(generation.manifest);
  if (how == nullptr) return;
  const std::vector<ReplicaEntry*>& all = replicas_of(name);
  const auto is_ours = [&generation](const Replica& replica) {
    return replica.revision == generation.revision && replica.state == domain::State::Ready;
  };
  const bool waits = std::any_of(
      function.waiting.begin(), function.waiting.end(),
      [&generation](const Waiting& one) { return one.revision == generation.revision; });
  const bool waking = std::any_of(all.begin(), all.end(), [&is_ours](const ReplicaEntry* entry) {
    return is_ours(entry->second) && entry->second.sleep == Sleep::Waking;
  });
  const int missing = std::max(held_warm(function, generation), ahead_of_calls(generation)) -
                      awake_replicas(name, generation.revision);
  for (int left = std::max(missing, waits && !waking ? 1 : 0); left > 0; --left) {
    ReplicaEntry* best = nullptr;
    for (ReplicaEntry* entry : all) {
      if (!is_ours(entry->second) || entry->second.sleep != Sleep::Asleep) continue;
      if (best == nullptr || entry->second.last_used > best->second.last_used) best = entry;
    }
    if (best == nullptr) return;
    best->second.sleep = Sleep::Waking;
    best->second.wake_began = now_;
    decide(name, "wake",
           fmt::format("replica {}: {}", best->first.value,
                       waits ? fmt::format("{} waiting", function.waiting.size()) : "held warm"));
    effects_.list.push_back(WakeReplica{best->first, *how});
  }
}

// A start beside one that could not be put to sleep, or woken, would find its memory taken.
bool Brain::device_is_held(const std::string& name) const {
  const std::vector<ReplicaEntry*>& all = replicas_of(name);
  return std::any_of(all.begin(), all.end(), [](const ReplicaEntry* entry) {
    return entry->second.sleep == Sleep::Failed;
  });
}

void Brain::on(const ReplicaAsleep& event) {
  const auto entry = replicas_.find(event.replica);
  if (entry == replicas_.end()) return;
  Replica& replica = entry->second;
  if (replica.state != domain::State::Ready || replica.sleep != Sleep::Falling) return;
  replica.sleep = Sleep::Asleep;
  (void)find(replica.function);
  decide(replica.function, "asleep", fmt::format("replica {}", event.replica.value));
}

void Brain::on(const ReplicaAwake& event) {
  const auto entry = replicas_.find(event.replica);
  if (entry == replicas_.end()) return;
  Replica& replica = entry->second;
  if (replica.state != domain::State::Ready || replica.sleep != Sleep::Waking) return;
  replica.sleep = Sleep::Awake;
  replica.awake = now_;
  replica.idle_since = now_;
  replica.last_used = now_;
  if (Function* function = find(replica.function)) ++function->cold_starts;
  if (Generation* generation = generation_of(replica.function, replica.revision))
    generation->start_time = now_ - replica.wake_began;
  decide(replica.function, "awake",
         fmt::format("replica {} after {}", event.replica.value,
                     format_duration(now_ - replica.wake_began)));
}

// Whoever waits for it gets a start instead.
void Brain::on(const SleepFailed& event) {
  const auto entry = replicas_.find(event.replica);
  if (entry == replicas_.end()) return;
  Replica& replica = entry->second;
  if (replica.state != domain::State::Ready || !replica.is_turning()) return;
  const std::string_view what = replica.sleep == Sleep::Waking ? "wake" : "fall asleep";
  decide(replica.function, "sleep-failed",
         fmt::format("replica {} does not {} and is killed: {}", event.replica.value, what,
                     event.cause));
  Generation* generation = generation_of(replica.function, replica.revision);
  if (generation != nullptr && replica.sleep == Sleep::Falling)
    generation->sleep_not_before = now_ + kSleepAgainAfter;  // or each start would end so
  replica.sleep = Sleep::Failed;
  move_to(replica, domain::State::Draining);
  effects_.list.push_back(KillProcess{event.replica});
}

}  // namespace glowplug::control
