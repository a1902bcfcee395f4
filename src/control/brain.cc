#include "control/brain.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "policy/admission.h"
#include "policy/keep_alive.h"

namespace glowplug::control {
namespace {

constexpr Duration kClockStep = std::chrono::seconds(1);

// From where the start came that a call waited for; Replica when it waited for none.
domain::Tier start_tier(bool fetched, domain::Tier load_tier, const domain::PhaseTimes& waited) {
  const auto took = [&waited](domain::Phase phase) {
    return waited[phase].value_or(Duration(0)) > Duration(0);
  };
  const bool prepared = took(domain::Phase::Fetch) || took(domain::Phase::Verify);
  if (prepared && fetched) return domain::Tier::Remote;
  if (prepared || took(domain::Phase::Load)) return load_tier;
  return took(domain::Phase::Fork) ? domain::Tier::Template : domain::Tier::Replica;
}

// "queue 0.0 ms, fork 11.2 ms": the queue and whatever else took time.
std::string in_words(const domain::PhaseTimes& waited) {
  std::string words;
  waited.each([&words](std::string_view name, Duration took) {
    if (took == Duration(0) && name != to_string(domain::Phase::Queue)) return;
    words += fmt::format("{}{} {}", words.empty() ? "" : ", ", name, format_duration(took));
  });
  return words;
}

// Calls come and go without changing who runs what.
bool may_change_deployments(const Event& event) {
  return !std::holds_alternative<CallArrived>(event) && !std::holds_alternative<CallEnded>(event) &&
         !std::holds_alternative<CallAbandoned>(event) &&
         !std::holds_alternative<ProcessProgress>(event) &&
         !std::holds_alternative<ModelProgress>(event) && !std::holds_alternative<Tick>(event);
}

}  // namespace

Effects Brain::handle(const Event& event, Time now, WallTime wall) {
  scale_clock_.begin(now);
  const Duration stepped = (wall - wall_) - (now - now_);
  if (std::chrono::abs(stepped) > kClockStep) stir_holding();  // schedules go by the wall clock
  now_ = now;
  wall_ = wall;
  if (const auto* began = std::get_if<AnswerBegan>(&event)) {  // changes nothing until a tick
    on(*began);
    return {.list = {}, .wake_at = wake_};
  }
  effects_ = {};
  turn_ = {};
  const bool may_change = may_change_deployments(event);
  if (may_change) ++deployments_;
  std::visit([this](const auto& one) { on(one); }, event);
  if (may_change) reserved_.reset();
  stir_due();
  ++changes_;
  settling_ = true;
  settle();
  let_rest();
  settling_ = false;
  changes_ += effects_.list.size();
  effects_.wake_at = wake_ = next_wake();
  return std::move(effects_);
}

void Brain::settle() {
  adopt_ready();
  for (FunctionEntry* entry : stirring_) grant_waiting(entry->first, entry->second);
  share_cores();  // growth counts who has which
  relieve_memory();
  relieve_devices();
  start_what_is_wanted();
  scale_by_load();
  hold_ahead();
  adopt_ready();  // what turned out not to start is waited for no longer
  stop_idle();
  let_sleep();
  prime_templates();
  keep_idle_state();
  keep_templates_within_budget();
  stop_unwanted_spares();
  make_spares();
  share_cores();
}

void Brain::grant(const std::string& name, Function& function, const Waiting& waiting,
                  ReplicaEntry& entry) {
  Replica& replica = entry.second;
  if (!replica.domain) bind(entry, waiting.domain);
  workers_changed_ |= replica.in_flight == 0;
  replica.in_flight += waiting.weight;
  replica.alone = waiting.alone;
  ++replica.granted;
  replica.retired = false;
  replica.last_used = now_;
  replica.kept = false;
  replica.prompts.note(waiting.prompt, replica.slots);
  if (const auto held = replica.from ? templates_.find(*replica.from) : templates_.end();
      held != templates_.end())
    held->second.last_used = now_;
  note_visit(name, function, replica);
  Call& call = calls_[waiting.call];
  call.replica = entry.first;
  call.granted = now_;
  call.tenant = waiting.caller.tenant;

  const auto overlap = [&waiting, this](Time begin, Time end) {
    return std::max(Duration(0), std::min(end, now_) - std::max(begin, waiting.arrived));
  };
  const Duration waited = now_ - waiting.arrived;
  const Duration started = overlap(replica.started, replica.ready);
  domain::PhaseTimes times;
  Generation& served = *serving_generation(function, replica.revision);
  call.charged = slot_seconds(served, waiting.weight);
  function.shares.granted(call.tenant, call.charged);
  const bool prepared_for_it = served.prepare_ended <= replica.started;  // not later, beside it
  const Time verify_began = served.prepare_ended - served.verified;
  times[domain::Phase::Fetch] =
      prepared_for_it ? overlap(served.prepare_began, verify_began) : Duration(0);
  times[domain::Phase::Verify] =
      prepared_for_it ? overlap(verify_began, served.prepare_ended) : Duration(0);
  const Duration woken = overlap(replica.wake_began, replica.awake);
  times[domain::Phase::Load] =
      woken + (replica.from ? overlap(replica.load_began, replica.load_ended) : started);
  times[domain::Phase::Fork] = replica.from ? started : Duration(0);
  const Duration start = times.sum();
  const bool handed_over = replica.was_spare && replica.ready >= waiting.arrived;
  const bool cold = handed_over || start > Duration(0);
  note_request(served, cold ? policy::Start::Waited : policy::Start::None);
  times[domain::Phase::Queue] = std::max(Duration(0), waited - start);
  const domain::Tier load_tier = replica.from_memory ? domain::Tier::Memory : domain::Tier::Disk;
  const domain::Tier tier = handed_over           ? domain::Tier::Spare
                            : woken > Duration(0) ? domain::Tier::Asleep
                                                  : start_tier(served.fetched, load_tier, times);
  // A fork, a hand-over and a wake read nothing; a template's load counts for whoever waited for
  // it.
  const bool loaded =
      !handed_over && woken == Duration(0) && times[domain::Phase::Load] > Duration(0);
  effects_.list.push_back(GrantCall{.call = waiting.call,
                                    .replica = entry.first,
                                    .revision = replica.revision,
                                    .cold = cold,
                                    .tier = tier,
                                    .waited = times,
                                    .bytes_read = loaded ? replica.bytes_read : 0});
  if (cold) {
    decide(name, "grant",
           fmt::format("cold from {}: {}; replica {}", to_string(tier), in_words(times),
                       entry.first.value));
  }
}

void Brain::start_what_is_wanted() {
  if (draining_) return;
  for (FunctionEntry* entry : start_order()) {
    auto& [name, function] = *entry;
    function.turn.reset();
    if (function.waiting.empty() && !function.next) function.told_budget = false;
    each_serving(function, [this, &name = name, &function = function](Generation& generation) {
      wake_sleepers(name, function, generation);
      if (cannot_start(generation) || device_is_held(name) || lets_another_start(function)) return;
      // Room that was made is for whoever calls, not for what is held ahead of calls.
      if (turn_.room_is_awaited && unserved(name, generation).domains == 0) return;
      make_place(name, generation);
      for (int live = live_replicas(name, generation.revision);
           live < wanted_replicas(name, function, generation);) {
        ensure_started(name, function, generation);
        const int before = std::exchange(live, live_replicas(name, generation.revision));
        if (live == before) break;  // it waits for its model or for room
      }
      start_beside(name, function, generation);
    });
    ensure_next_started(name, function);
  }
}

int Brain::wanted_replicas(const std::string& name, const Function& function,
                           const Generation& generation) const {
  const int more = unserved(name, generation).domains;
  const int by_calls = more == 0 ? 0 : live_replicas(name, generation.revision) + more;
  return std::min(std::max(by_calls, held_replicas(function, generation)),
                  std::max(1, generation.manifest.scale.max));
}

void Brain::ensure_started(const std::string& name, Function& function, Generation& generation) {
  if (generation.model == Model::Preparing) return;
  if (generation.model == Model::Absent || generation.model == Model::Failed) {
    generation.model = Model::Preparing;
    generation.prepare_began = now_;
    generation.prepare_ended = now_;
    effects_.list.push_back(PrepareModel{generation.manifest, generation.revision});
    return;
  }
  if (!generation.placement && !place(name, function, generation)) return;
  const bool on_accelerator = is_on_accelerator(generation);
  if (!on_accelerator && may_fork(generation)) {
    const std::uint64_t forked = forked_bytes(generation);
    if (!may_spend(name, function, generation, forked) || fork_or_load(name, generation)) return;
  }
  const std::uint64_t bytes = on_accelerator ? host_bytes(generation) : replica_bytes(generation);
  if (bytes > options_.memory_bytes) {
    generation.forks_fail = false;  // a fork may do with less
    fail(name, function, generation,
         {std::string(domain::error::kDoesNotFit),
          fmt::format("`{}` needs {} (weights {}, {} slots of {} tokens) and replicas may use {} "
                      "here; lower context or "
                      "slots, choose a smaller file, or give the server more with --memory",
                      name, format_bytes(bytes), format_bytes(generation.facts.weight_bytes),
                      generation.manifest.slots, generation.manifest.context,
                      format_bytes(options_.memory_bytes)),
          ""});
    return;
  }
  if (on_accelerator) return start_on_device(name, function, generation);
  if (!may_spend(name, function, generation, bytes)) return;
  if (make_room(name, generation, bytes)) start_replica(name, generation, bytes, nullptr);
}

// True when the bytes are free now; otherwise asks what is idle, and does not keep its turn, to
// stop where that is enough.
bool Brain::make_room(const std::string& name, const Generation& generation, std::uint64_t bytes,
                      std::optional<domain::ProcessId> template_kept) {
  const std::uint64_t reserved = reserved_bytes();
  const std::uint64_t free = options_.memory_bytes - std::min(options_.memory_bytes, reserved);
  const std::uint64_t wanted = bytes + claimed_before(name).bytes;
  if (wanted <= free) return true;
  turn_.short_of_room = true;
  const bool called = unserved(name, generation).domains > 0;
  turn_.room_is_awaited |= called;
  // Nothing goes for what is only held: two functions that are held would evict each other for
  // ever.
  if (!called && !coming_generation(functions_.at(name), generation.revision)) return false;
  claim(name, generation, {.by = name, .bytes = bytes});
  if (wanted > options_.memory_bytes) return false;  // a claim ends

  const std::uint64_t coming = leaving_bytes(Leaving::Now);
  if (wanted <= free + coming) return false;
  if (evict(name, wanted - free - coming, template_kept, contender(name, generation))) return false;
  await_pauses(name, generation);
  if (wanted <= free + leaving_bytes(Leaving::WhenDone)) return false;
  let_one_give_way(name, functions_.at(name), generation);
  return false;
}

void Brain::start_replica(const std::string& name, const Generation& generation,
                          std::uint64_t bytes, TemplateEntry* from, const policy::Allocation* on) {
  const domain::ProcessId id{++last_process_};
  Replica replica;
  replica.function = name;
  replica.revision = generation.revision;
  replica.slots = generation.manifest.slots;
  replica.threads = threads_for(name, generation);
  take_cores_of(replica, generation);
  const int cores = threads_max(name, generation);
  const Accounts& accounts = accounts_of(generation);
  replica.account = from == nullptr ? accounts.executed : accounts.forked;
  // What was learned to be less does not tighten the kernel's limit.
  const policy::ProcessLimits limits = policy::limits_of(
      std::max(bytes, replica.account.need.estimate), generation.manifest, generation.facts, cores);
  replica.memory_bytes = bytes;
  replica.per_hour = cost_on(on);
  replica.started = now_;
  if (!replica.is_spare()) replica.last_used = now_;  // a spare makes room before all others
  std::string how;
  if (from != nullptr) {
    replica.from = from->first;
    replica.base = from->second.base.value_or(from->first);
    replica.load_began = from->second.started;
    replica.load_ended = from->second.ready;
    replica.from_memory = from->second.from_memory;
    replica.bytes_read = from->second.bytes_read;
    if (from->second.learned) replica.made_for = from->second.learned->domain;
    if (!replica.is_spare()) {
      from->second.last_used = now_;
      from->second.spare_not_before = std::max(from->second.spare_not_before, now_);
    }
    how = fmt::format(" forked from template {}", from->first.value);
  }
  if (on != nullptr) {
    const bool reserved = pool_.ledger().reserve(id, *on);
    GLOWPLUG_ASSERT(reserved);
    replica.pretends = generation.manifest.engine.kind == domain::EngineKind::Fake;
    how = fmt::format(" on {}", fmt::join(pool_.names_of(id), ", "));
  }
  if (from != nullptr && name.empty())
    decide(from->second.manifest.name, "spare",
           fmt::format("replica {}{}: {} reserved", id.value, how, format_bytes(bytes)));
  else
    decide(name, "start",
           fmt::format("replica {} of revision {}{}: {} waiting, {} reserved, {} threads", id.value,
                       generation.revision, how, functions_.at(name).waiting.size(),
                       format_bytes(bytes), replica.threads));
  const bool ahead = replica.is_spare() || (functions_.at(name).waiting.empty() && !is_computing());
  effects_.list.push_back(
      StartProcess{.process = id,
                   .manifest = generation.manifest,
                   .revision = generation.revision,
                   .facts = generation.facts,
                   .limits = limits,
                   .threads = replica.threads,
                   .cores = cores,
                   .from = replica.from,
                   .ahead = ahead,
                   .spare = replica.is_spare(),
                   .gpus = pool_.visible_gpus(generation.manifest, on),
                   .devices = on == nullptr ? std::vector<domain::DeviceId>() : on->devices});
  workers_changed_ = true;
  reserved_.reset();
  list(*replicas_.emplace(id, std::move(replica)).first);
}

void Brain::stop_idle() {
  for (const FunctionEntry* function : stirring_) {
    for (ReplicaEntry* entry : replicas_of(function->first)) {
      const Replica& replica = entry->second;
      if (!replica.is_resting() || coming_generation(function->second, replica.revision)) continue;
      if (serving_generation(function->second, replica.revision) == nullptr)
        drain(*entry, "a newer revision serves");
      else if (replica.retired)
        drain(*entry, "retired, and nothing is on it");
      else if (const auto stop = stop_time_of(replica); stop && *stop <= now_)
        drain(*entry, fmt::format("idle for {}", format_duration(now_ - replica.idle_since)));
    }
  }
}

std::optional<Time> Brain::stop_time_of(const Replica& replica) const {
  const auto found = functions_.find(replica.function);
  if (found == functions_.end()) return now_;
  const Function& function = found->second;
  if (coming_generation(function, replica.revision)) return std::nullopt;
  const Generation* served = serving_generation(function, replica.revision);
  const int live = live_replicas(replica.function, replica.revision);
  const int minimum = served ? std::max({served->manifest.scale.min, scheduled(*served).replicas,
                                         ahead_of_calls(*served)})
                             : 0;
  return policy::stop_time({.idle_since = replica.idle_since,
                            .keep_alive = function.keep_alive,
                            .held_until = std::max(function.warm_until.value_or(Time::min()),
                                                   replica.load_wants_it_until),
                            .within_minimum = served && live <= minimum});
}

void Brain::drain(ReplicaEntry& entry, const std::string& reason) {
  Replica& replica = entry.second;
  if (!replica.is_spare()) (void)find(replica.function);
  move_to(replica, domain::State::Draining);
  decide(label_of(replica), replica.in_flight == 0 ? "stop" : "drain",
         fmt::format("replica {}: {}", entry.first.value, reason));
  if (replica.in_flight == 0) effects_.list.push_back(StopProcess{entry.first});
}

void Brain::refuse(domain::CallId call, const Error& error, int retry_after_s) {
  calls_.erase(call);
  effects_.list.push_back(RefuseCall{call, error, retry_after_s});
}

// All, or those that wait for one revision and have no replica to wait for.
void Brain::refuse_waiting(Function& function, const Error& error, int retry_after_s,
                           std::optional<int> revision) {
  const std::string name = function.current.manifest.name;
  std::erase_if(function.waiting, [&](const Waiting& waiting) {
    if (revision && (waiting.revision != *revision || has_replica(name, waiting))) return false;
    refuse(waiting.call, error, retry_after_s);
    return true;
  });
  function.note_left();
}

// A start that was killed from outside says nothing of the model: it is tried once more.
bool Brain::tries_again(const std::string& name, Generation& generation, Ending ending) {
  const bool from_outside = ending == Ending::Killed || ending == Ending::OutOfMemory;
  if (!from_outside || generation.starts_killed++ > 0) return false;
  decide(name, "retry", "its start was killed; one more try");
  return true;
}

void Brain::decide(const std::string& function, const std::string& decision,
                   const std::string& reason) {
  effects_.list.push_back(Decision{now_, function, decision, reason});
}

// A replica of a function can take calls.
void Brain::serve_from_now(ReplicaEntry& entry) {
  Replica& replica = entry.second;
  replica.ready = now_;
  replica.idle_since = now_;
  replica.last_used = now_;
  Function* function = find(replica.function);
  if (function == nullptr) return;
  ++function->cold_starts;
  if (Generation* generation = generation_of(replica.function, replica.revision)) {
    generation->ready_once = true;
    generation->forks_fail = false;
    generation->starts_killed = generation->failures = 0;
    if (!replica.was_spare) generation->start_time = generation->began_in = now_ - replica.started;
    if (replica.from) generation->load_time = replica.load_ended - replica.load_began;
  }
  decide(replica.function, "ready",
         fmt::format("replica {} after {}", entry.first.value,
                     format_duration(now_ - replica.started)));
  if (coming_generation(*function, replica.revision) && takes_over(replica.function, *function))
    adopt_next(replica.function, *function);
  grant_waiting(replica.function, *function);
}

const std::string& Brain::label_of(const Replica& replica) const {
  static const std::string none = "-";
  if (!replica.is_spare()) return replica.function;
  const auto held = templates_.find(*replica.from);
  return held == templates_.end() ? none : held->second.manifest.name;
}

void Brain::move_to(Replica& replica, domain::State state) {
  GLOWPLUG_ASSERT(domain::may_follow(replica.state, state));
  workers_changed_ = true;
  replica.state = state;
}

}  // namespace glowplug::control
