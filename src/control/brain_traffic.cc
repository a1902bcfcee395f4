// Generations of a function in the brain: which one takes a call, who stands in for one that does
// not start, and how one set of them replaces another.
#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "control/brain.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "policy/retry.h"

namespace glowplug::control {
namespace {

// When an engine sleeps, and how long that may take, is no reason to start another.
domain::Engine as_started(domain::Engine engine) {
  if (engine.process.sleep)
    engine.process.sleep = domain::EngineSleep{.kind = engine.process.sleep->kind,
                                               .level = engine.process.sleep->level};
  return engine;
}

// Whether replicas of one manifest can serve the other: only how they are run differs, not what
// they are.
bool same_replicas(const domain::Manifest& a, const domain::Manifest& b) {
  return a.model == b.model && a.model_sha256 == b.model_sha256 && a.task == b.task &&
         as_started(a.engine) == as_started(b.engine) && a.context == b.context &&
         a.slots == b.slots && a.chat_template == b.chat_template && a.resources == b.resources &&
         a.prime == b.prime && a.tuning == b.tuning;
}

// "3", or "3: 90, 4: 10".
std::string in_words(const std::vector<policy::Share>& shares) {
  if (shares.size() == 1) return fmt::format("{}", shares.front().revision);
  std::string words;
  for (const policy::Share& share : shares)
    words += fmt::format("{}{}: {}", words.empty() ? "" : ", ", share.revision, share.weight);
  return words;
}

}  // namespace

bool Brain::cannot_start(const Generation& generation) const {
  return generation.failure && generation.failure->forgotten_at > now_;
}

// --- which one takes a call ---

// One that cannot start, or takes no calls, is only given back when nobody can stand in for it.
Brain::Generation& Brain::choose_generation(Function& function, Waiting& waiting) {
  std::vector<policy::Share> shares = shares_of(function);
  Generation& chosen = *serving_generation(function, policy::choose(shares));
  auto share = shares.begin();
  each_serving(function, [&share](Generation& one) { one.gathered = (share++)->gathered; });
  assign(waiting, chosen);
  const bool starts = !cannot_start(chosen) || has_replica(function.current.manifest.name, waiting);
  const bool on_trial = waiting.alone && chosen.quarantine.in_a_row > 0;  // not by such a call
  if (starts && !on_trial && !is_closed(chosen)) return chosen;
  Generation* other = stand_in(function);
  if (other == nullptr) return chosen;
  assign(waiting, *other);
  return *other;
}

Brain::Generation* Brain::stand_in(Function& function) const {
  std::vector<policy::Candidate> candidates;
  each_serving(function, [this, &candidates](const Generation& one) {
    const bool serves = !cannot_start(one) && one.quarantine.in_a_row == 0;
    candidates.push_back(
        {one.revision, one.weight, serves ? policy::Serves::Yes : policy::Serves::No});
  });
  const std::optional<int> revision = policy::choose_stand_in(candidates);
  return revision ? serving_generation(function, *revision) : nullptr;
}

// --- one that does not start, or does not go on ---

// A revision that never served gives way to those that do; a serving one starts nothing for a
// while, and another takes the calls for which it has no replica.
void Brain::fail(const std::string& name, Function& function, Generation& generation,
                 const Error& error) {
  generation.starts_killed = 0;
  decide(name, "failed", fmt::format("revision {}: {}", generation.revision, error.message));
  if (coming_generation(function, generation.revision))
    return fail_coming(function, generation, error);
  remember(generation, error);
  if (stand_in(function) != nullptr) return fall_back(name, function, generation);
  const double seconds = std::ceil(to_seconds(generation.failure->forgotten_at - now_));
  refuse_waiting(function, error,
                 domain::error_kind(error.code).retry ? static_cast<int>(seconds) : 0,
                 generation.revision);
}

void Brain::remember(Generation& generation, const Error& error) {
  const std::size_t spread =  // others that fail in this turn come back at other times
      std::hash<std::string>{}(generation.manifest.name) + last_process_;
  ++generation.failures;
  Duration memory = policy::failure_memory(generation.failures, spread);
  if (const int in_a_row = generation.quarantine.in_a_row; in_a_row > 0)
    memory = std::max(memory, policy::quarantine_time(in_a_row, spread));
  generation.failure = Failure{error, now_ + memory};
}

// One alone does not take over; of several the others do.
void Brain::fail_coming(Function& function, Generation& generation, const Error& error) {
  const Rollout& next = *function.next;
  remember(generation, error);
  const bool any =
      std::any_of(next.shares.begin(), next.shares.end(), [&function](const policy::Share& share) {
        const Generation* coming = coming_generation(function, share.revision);
        return coming == nullptr || !coming->failure;
      });
  if (any) return;
  function.note = fmt::format("revision {} did not start: {}", generation.revision, error.message);
  function.next.reset();
  drop_unused_templates();
}

void Brain::fall_back(const std::string& name, Function& function, const Generation& failed) {
  const Generation* other = stand_in(function);
  if (other == nullptr) return;
  bool serves = false;
  each_replica(name, failed.revision, [&serves](const ReplicaEntry& entry) {
    serves |= entry.second.state == domain::State::Ready;
  });
  if (!serves)
    decide(name, "fallback",
           fmt::format("revision {} ({} of 100 calls) fails: {}; revision {} takes its calls",
                       failed.revision, failed.weight, failed.failure->error.message,
                       other->revision));
  for (Waiting& waiting : function.waiting)
    if (waiting.revision == failed.revision && !has_replica(name, waiting)) assign(waiting, *other);
}

// --- one set replaces another ---

void Brain::on(const TrafficSet& event) {
  GLOWPLUG_ASSERT(!event.served.empty());
  Function* function = find(event.function);
  if (function == nullptr) return create(event);
  std::vector<policy::Share> shares;
  for (const TrafficSet::Served& one : event.served) shares.push_back({one.revision, one.weight});
  decide(event.function, "traffic", fmt::format("revision {}", in_words(shares)));
  replace(event.function, *function, event.served);
}

void Brain::create(const TrafficSet& event) {
  Function fresh;
  for (const TrafficSet::Served& one : event.served) {
    Generation generation{.manifest = one.manifest, .revision = one.revision};
    generation.weight = one.weight;
    if (fresh.current.revision == 0)
      fresh.current = std::move(generation);
    else
      fresh.beside.push_back(std::move(generation));
  }
  fresh.keep_alive = fresh.current.manifest.keep_alive;
  FunctionEntry& entry = *functions_.emplace(event.function, std::move(fresh)).first;
  stir(entry);
  Function& function = entry.second;
  decide(event.function, "deploy", fmt::format("revision {}", in_words(shares_of(function))));
  prepare_serving(event.function, function);
}

// Fetches the models; starts nothing yet.
void Brain::prepare_serving(const std::string& name, Function& function) {
  each_serving(function, [this, &name, &function](Generation& generation) {
    if (generation.model == Model::Absent) ensure_started(name, function, generation);
  });
}

void Brain::replace(const std::string& name, Function& function,
                    const std::vector<TrafficSet::Served>& served) {
  std::optional<Rollout> before = std::exchange(function.next, std::nullopt);
  if (served.size() == 1 && relabel(name, function, served.front())) return;
  Rollout next;
  for (const TrafficSet::Served& one : served) {
    next.shares.push_back({one.revision, one.weight});
    if (Generation* serving = serving_generation(function, one.revision)) {
      serving->set_manifest(one.manifest);  // the same, or pinned to what it runs
      continue;
    }
    Generation fresh{.manifest = one.manifest, .revision = one.revision};
    if (before)
      for (Generation& coming : before->fresh)  // on its way already
        if (coming.revision == one.revision && !coming.failure) fresh = std::move(coming);
    fresh.set_manifest(one.manifest);
    next.fresh.push_back(std::move(fresh));
  }
  const std::vector<policy::Share> now = shares_of(function);
  const auto same = [](const policy::Share& a, const policy::Share& b) {
    return a.revision == b.revision && a.weight == b.weight;
  };
  if (std::equal(now.begin(), now.end(), next.shares.begin(), next.shares.end(), same)) {
    each_serving(function, [](Generation& generation) {
      generation.failure.reset();
      generation.quarantine = {};
    });
    function.crashes = {};
    function.note.clear();
    return;
  }
  bool keeps_serving = false;
  each_serving(function, [&keeps_serving](const Generation& generation) {
    keeps_serving |= generation.model == Model::Prepared && !generation.failure;
  });
  function.next = std::move(next);
  if (keeps_serving) return;
  adopt_next(name, function);  // waiting callers get the new revision
  prepare_serving(name, function);
}

// The replicas that run are as good for the new revision: they go on under its number.
bool Brain::relabel(const std::string& name, Function& function, const TrafficSet::Served& served) {
  Generation& current = function.current;
  if (!function.beside.empty() || !same_replicas(served.manifest, current.manifest)) return false;
  const int before = std::exchange(current.revision, served.revision);
  current.set_manifest(served.manifest);
  for (ReplicaEntry* entry : replicas_of(name)) {
    if (entry->second.revision != before) continue;
    entry->second.revision = served.revision;
    if (current.manifest.priority != domain::Priority::Batch) thaw(*entry);
    take_cores_of(entry->second, current);
  }
  workers_changed_ = true;
  for (Waiting& waiting : function.waiting) waiting.revision = served.revision;
  current.failure.reset();
  current.failures = 0;
  current.quarantine = {};
  function.crashes = {};
  function.keep_alive = served.manifest.keep_alive;
  function.note.clear();
  if (current.model == Model::Preparing) current.model = Model::Absent;
  if (current.model != Model::Prepared) ensure_started(name, function, current);
  keep_max(name, current);
  keep_budget(name, function);
  drop_unused_templates();
  return true;
}

bool Brain::is_cold(const std::string& name, const Function& function) const {
  bool cold = true;
  each_serving(function, [this, &cold, &name](const Generation& generation) {
    cold &= awake_replicas(name, generation.revision) == 0;
  });
  return cold;
}

// Once each fresh generation has been ready, or has turned out not to start. Where nothing runs
// there is no need to wait for a start.
bool Brain::takes_over(const std::string& name, const Function& function) const {
  if (!function.next) return false;
  const bool cold = is_cold(name, function);
  const std::vector<Generation>& fresh = function.next->fresh;
  return std::all_of(fresh.begin(), fresh.end(), [cold](const Generation& generation) {
    if (generation.failure) return true;
    return generation.model == Model::Prepared && (cold || generation.ready_once);
  });
}

void Brain::adopt_ready() {
  for (FunctionEntry* entry : stirring_)
    if (takes_over(entry->first, entry->second)) adopt_next(entry->first, entry->second);
}

void Brain::adopt_next(const std::string& name, Function& function) {
  Rollout next = std::move(*std::exchange(function.next, std::nullopt));
  decide(name, "switch",
         fmt::format("revision {} -> {}", in_words(shares_of(function)), in_words(next.shares)));
  std::vector<Generation> serving;
  for (const policy::Share& share : next.shares) {
    const auto fresh = std::find_if(
        next.fresh.begin(), next.fresh.end(),
        [&share](const Generation& generation) { return generation.revision == share.revision; });
    if (fresh == next.fresh.end()) {
      serving.push_back(std::move(*serving_generation(function, share.revision)));
      serving.back().failure.reset();
      serving.back().quarantine = {};
      function.crashes.forget(share.revision);
    } else {
      serving.push_back(std::move(*fresh));
    }
    serving.back().weight = share.weight;
    serving.back().gathered = 0;
  }
  function.current = std::move(serving.front());
  function.beside.assign(std::make_move_iterator(serving.begin() + 1),
                         std::make_move_iterator(serving.end()));
  function.note.clear();
  function.keep_alive = function.current.manifest.keep_alive;
  drop_unused_templates();
  for (Waiting& waiting : function.waiting)
    if (!serving_generation(function, waiting.revision)) choose_generation(function, waiting);
  for (ReplicaEntry* entry : replicas_of(name)) {
    const Replica& replica = entry->second;
    if (serving_generation(function, replica.revision)) continue;
    if (replica.state == domain::State::Loading || replica.state == domain::State::Ready)
      drain(*entry, "a newer revision serves");
  }
  keep_budget(name, function);
  for (const Generation& generation : function.beside)
    if (generation.failure) fall_back(name, function, generation);
  if (function.current.failure) fall_back(name, function, function.current);
}

// What is new is started beside the old, which serves until it is ready; where nothing runs, only
// its model is fetched.
void Brain::ensure_next_started(const std::string& name, Function& function) {
  if (!function.next) return;
  const bool cold = is_cold(name, function);
  std::vector<int> wanted;  // starting one may end the wait for all
  for (const Generation& generation : function.next->fresh) {
    const bool started =
        cold || generation.ready_once || live_replicas(name, generation.revision) > 0;
    const bool waits_for_room = turn_.room_is_awaited && function.waiting.empty();
    if (!generation.failure &&
        (generation.model != Model::Prepared || (!started && !waits_for_room)))
      wanted.push_back(generation.revision);
  }
  for (const int revision : wanted)
    if (coming_generation(function, revision))
      ensure_started(name, function, *generation_of(name, revision));
}

}  // namespace glowplug::control
