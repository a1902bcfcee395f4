// What each event changes; the consequences follow in Brain::settle().
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "control/brain.h"
#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

constexpr int kServerErrors = 500;  // HTTP statuses below are a caller's fault, as no model file is

Error shutting_down() {
  return {std::string(domain::error::kShuttingDown),
          "the server is shutting down; try again in a moment", ""};
}

Error no_more_retries(const std::string& name) {
  return {std::string(domain::error::kReplicaFailed),
          fmt::format("The replica of `{}` that ran the call ended before it answered, and more "
                      "than one call in ten of it is tried again already; see glowplug logs {}.",
                      name, name),
          ""};
}

Error unknown_function(const std::string& name) {
  return {std::string(domain::error::kModelNotFound),
          fmt::format("The model `{}` does not exist or you do not have access to it.", name),
          "model"};
}

}  // namespace

void Brain::on(const FunctionPut& event) {
  const std::string& name = event.manifest.name;
  Function* function = find(name);
  if (function == nullptr) {
    return create({.function = name, .served = {{event.manifest, event.revision, 100}}});
  }
  decide(name, "deploy",
         fmt::format("revision {} beside {}", event.revision, function->current.revision));
  replace(name, *function, {{event.manifest, event.revision, 100}});
}

void Brain::on(const FunctionDeleted& event) {
  Function* function = find(event.function);
  if (function == nullptr) return;
  refuse_waiting(*function, unknown_function(event.function), 0);
  decide(event.function, "delete", "asked");
  forget(*functions_.find(event.function));
  for (ReplicaEntry* entry : replicas_of(event.function))
    if (entry->second.state != domain::State::Draining) drain(*entry, "the function is deleted");
  drop_unused_templates();
}

void Brain::on(const ModelProgress& event) {
  if (Generation* generation = generation_of(event.function, event.revision)) {
    generation->progress = event.fraction;
    generation->phase = event.phase;
  }
}

void Brain::on(const ModelPrepared& event) {
  Generation* generation = generation_of(event.function, event.revision);
  if (generation == nullptr || generation->model != Model::Preparing) return;
  generation->model = Model::Prepared;
  generation->set_facts(event.facts);
  generation->fetched = event.fetched;
  generation->resident = event.resident;
  generation->progress = 1;
  generation->phase.clear();
  generation->prepare_ended = now_;
  generation->verified = event.verified;
  (void)place(event.function, *find(event.function), *generation);
}

void Brain::on(const ModelUnavailable& event) {
  Generation* generation = generation_of(event.function, event.revision);
  if (generation == nullptr || generation->model != Model::Preparing) return;
  generation->model = Model::Failed;
  generation->prepare_ended = now_;
  Error error = event.error;
  if (domain::error_kind(error.code).status < kServerErrors)
    error = {std::string(domain::error::kFunctionFailed), std::move(error.message), {}};
  fail(event.function, *find(event.function), *generation, error);
}

void Brain::on(const ModelResidency& event) {
  for (auto& [name, function] : functions_) {
    each_generation(function, [&event](Generation& generation) {
      if (generation.facts.path == event.path) generation.resident = event.resident;
    });
  }
}

void Brain::on(const StartMeasured& event) {
  if (const auto entry = replicas_.find(event.process); entry != replicas_.end())
    entry->second.from_memory = event.resident;
  if (const auto entry = templates_.find(event.process); entry != templates_.end())
    entry->second.from_memory = event.resident;
}

// What runs from it finishes its calls and is replaced: a mapped file changes under its readers.
void Brain::on(const ModelLost& event) {
  for (TemplateEntry& entry : templates_)
    if (entry.second.facts.path == event.path) drop_template(entry, event.reason);
  for (FunctionEntry& deployed : functions_) {
    auto& [name, function] = deployed;
    each_generation(function, [&, &name = name](Generation& generation) {
      if (generation.model != Model::Prepared || generation.facts.path != event.path) return;
      stir(deployed);
      decide(name, "model-lost", event.reason);
      generation.model = Model::Absent;
      generation.ready_once = false;
      generation.progress = 0;
      for (ReplicaEntry* entry : replicas_of(name))
        if (entry->second.revision == generation.revision &&
            entry->second.state != domain::State::Draining)
          drain(*entry, event.reason);
    });
  }
}

void Brain::on(const CallArrived& event) {
  if (draining_) return refuse(event.call, shutting_down(), 1);
  Function* function = find(event.function);
  if (function == nullptr) return refuse(event.call, unknown_function(event.function), 0);
  if (event.retry_of) {
    if (!function->retries.take(now_))
      return refuse(event.call, no_more_retries(event.function), 1);
  } else {
    ++function->calls;
    if (function->last_ended && !has_work(event.function, *function))
      policy::note_pause(function->pauses,
                         now_ - *std::exchange(function->last_ended, std::nullopt));
    function->retries.note_call();
    function->rate.note_call(now_);
  }
  Waiting waiting{.call = event.call,
                  .weight = event.weight,
                  .arrived = now_,
                  .caller = event.domain,
                  .alone = event.retry_of.has_value(),
                  .prompt = event.prompt,
                  .urgency = event.urgency};
  Generation& chosen = choose_generation(*function, waiting);
  const bool on_trial = chosen.quarantine.in_a_row > 0;  // by a call that has killed nobody yet
  if (is_closed(chosen) || (on_trial && event.retry_of) ||
      (cannot_start(chosen) && !has_replica(event.function, waiting)))
    return refuse_failed(event.call, chosen);
  if (!cannot_start(chosen)) chosen.failure.reset();
  const domain::CallLimits& limits = chosen.manifest.limits;
  if (function->waiting.size() >= static_cast<std::size_t>(limits.queue)) {
    return refuse(
        event.call,
        {std::string(domain::error::kQueueFull),
         fmt::format("{} calls wait for `{}` already (limits.queue)", limits.queue, event.function),
         ""},
        queue_retry_s(event.function, chosen, waiting));
  }
  if (event.weight > chosen.manifest.slots) {
    return refuse(event.call,
                  {std::string(domain::error::kInvalidValue),
                   fmt::format("n = {} is more than the {} slots of `{}`", event.weight,
                               chosen.manifest.slots, event.function),
                   "n"},
                  0);
  }
  waiting.deadline = std::min(event.deadline, now_ + limits.queue_timeout);
  note_arrival(chosen);
  note_tenant(event.function, *function, waiting);
  if (refuse_hopeless(event.function, *function, chosen, waiting)) return;
  function->first_deadline = std::min(function->first_deadline, waiting.deadline);
  function->waiting.push_back(std::move(waiting));
  // The idle time that it ends is known when it is asked how long the next may be.
  if (chosen.scaling->window.concurrency() == 0) note_load(event.function, *function);
  function->keep_alive = event.keep_alive.value_or(
      chosen.scaling->keep_time(chosen.manifest.keep_alive, scale_clock_));
  calls_.emplace(event.call, Call{.function = event.function,
                                  .replica = {},
                                  .weight = event.weight,
                                  .retry_of = event.retry_of});
  if (!on_trial) return;
  chosen.quarantine.probe = event.call;
  decide(
      event.function, "probe",
      fmt::format("revision {}: call {} alone is let through", chosen.revision, event.call.value));
}

void Brain::on(const CallEnded& event) {
  const auto call = calls_.find(event.call);
  if (call == calls_.end()) return;
  GLOWPLUG_ASSERT(call->second.replica.has_value());
  if (Function* function = find(call->second.function)) function->last_ended = now_;
  note_had(call->second);
  const auto entry = replicas_.find(*call->second.replica);
  if (entry != replicas_.end()) {
    Replica& replica = entry->second;
    replica.in_flight -= call->second.weight;
    GLOWPLUG_ASSERT(replica.in_flight >= 0);
    replica.last_used = now_;
    replica.account.worked = true;
    Generation* served = generation_of(replica.function, replica.revision);
    if (served != nullptr && event.outcome != CallOutcome::ReplicaBroke &&
        event.outcome != CallOutcome::Unsent)
      policy::note_answer(served->service, now_ - call->second.granted);
    if (served != nullptr && event.outcome == CallOutcome::Answered)
      note_answer(*find(replica.function), *served, event.call);
    if (event.outcome == CallOutcome::ReplicaBroke)
      replica.broke.push_back({event.call, call->second.retry_of});
    if (replica.in_flight == 0) {
      replica.alone = false;
      workers_changed_ = true;
      replica.idle_since = now_;
      if (replica.state == domain::State::Draining)
        effects_.list.push_back(StopProcess{entry->first});
    }
    if (event.outcome == CallOutcome::ReplicaBroke && replica.state == domain::State::Ready)
      drain(*entry, "it broke off an answer");
  }
  calls_.erase(call);
}

void Brain::on(const CallAbandoned& event) {
  const auto call = calls_.find(event.call);
  if (call == calls_.end()) return;
  if (call->second.replica)  // granted in the same turn
    return on(CallEnded{event.call, CallOutcome::Unsent});
  if (Function* function = find(call->second.function)) {
    std::erase_if(function->waiting,
                  [&event](const Waiting& waiting) { return waiting.call == event.call; });
    function->note_left();
  }
  calls_.erase(call);
}

void Brain::on(const ProcessProgress& event) {
  if (const auto entry = replicas_.find(event.process); entry != replicas_.end())
    entry->second.progress = event.fraction;
  if (const auto entry = templates_.find(event.process); entry != templates_.end())
    entry->second.progress = event.fraction;
}

void Brain::on(const ProcessReady& event) {
  if (const auto held = templates_.find(event.process); held != templates_.end()) {
    held->second.bytes_read = event.bytes_read;
    return template_ready(*held);
  }
  const auto entry = replicas_.find(event.process);
  if (entry == replicas_.end() || entry->second.state != domain::State::Loading) return;
  Replica& replica = entry->second;
  move_to(replica, domain::State::Ready);
  pool_.ledger().start_succeeded(event.process, replica.function, now_);
  replica.progress = 1;
  replica.sandbox = event.sandbox;
  if (!replica.from) replica.bytes_read = event.bytes_read;
  if (!replica.is_spare()) return serve_from_now(*entry);
  decide(label_of(replica), "spare",
         fmt::format("replica {} ready after {}", event.process.value,
                     format_duration(now_ - replica.started)));
}

void Brain::on(const ReplicaAssigned& event) {
  const auto entry = replicas_.find(event.replica);
  if (entry == replicas_.end() || entry->second.state != domain::State::Loading) return;
  move_to(entry->second, domain::State::Ready);
  entry->second.started = now_;  // a hand-over is no phase of a start: it counts as queueing
  serve_from_now(*entry);
}

void Brain::on(const ProcessGone& event) {
  if (templates_.contains(event.process)) return template_gone(event);
  const auto entry = replicas_.find(event.process);
  if (entry == replicas_.end()) return;
  unlist(*entry);
  const Replica replica = std::move(entry->second);
  if (event.most_bytes) note_unmeasured(replica, *event.most_bytes);
  workers_changed_ |= replica.works();
  give_cores_of(replica);
  replicas_.erase(entry);
  pass_on(replica);
  const bool tries_elsewhere = left_device(event.process, replica, event.ending);
  Function* function = find(replica.function);
  decide(label_of(replica), "gone",
         fmt::format("replica {} ({}): {}", event.process.value, to_string(replica.state),
                     event.cause));
  note_child_end(replica, event.ending);
  note_death(replica, event);
  if (replica.state == domain::State::Draining) return;
  if (replica.is_spare()) return spare_gone(replica);
  if (function == nullptr) return;
  Generation* generation = generation_of(replica.function, replica.revision);
  if (generation == nullptr) return;
  if (replica.from && replica.state == domain::State::Loading) {
    generation->forks_fail = true;  // the slower tier answers: a start of its own
    return;
  }
  const Error error{std::string(domain::error::kFunctionFailed),
                    fmt::format("`{}` does not start: {}", replica.function, event.cause), ""};
  if (replica.state != domain::State::Loading) return;  // it served: see note_death()
  if (!tries_elsewhere && !tries_again(replica.function, *generation, event.ending))
    fail(replica.function, *function, *generation, error);
}

void Brain::on(const WarmWanted& event) {
  Function* function = find(event.function);
  if (function == nullptr) return;
  function->warm_count = event.count;
  function->warm_until = end_of(event.hold);
  each_serving(*function, [](Generation& generation) {
    generation.failure.reset();
    generation.failures = 0;
  });
  decide(event.function, "warm",
         fmt::format("{} for {}", event.count, format_duration(event.hold)));
}

void Brain::on(const StopWanted& event) {
  Function* function = find(event.function);
  if (function == nullptr) return;
  function->warm_count = 0;
  function->warm_until.reset();
  function->template_until.reset();
  each_serving(*function, [](Generation& generation) {
    if (generation.scaling) generation.scaling->stopped = true;
  });
  for (ReplicaEntry* entry : replicas_of(event.function))
    if (entry->second.state != domain::State::Draining) drain(*entry, "asked to stop");
}

void Brain::on(const FunctionTuned& event) {
  Generation* generation = generation_of(event.manifest.name, event.revision);
  if (generation == nullptr) return;
  generation->set_manifest(event.manifest);
  decide(event.manifest.name, "tuned",
         fmt::format("revision {} starts with threads {}, batch {}, repack {} from now on",
                     event.revision, event.manifest.resources.threads, event.manifest.tuning.batch,
                     to_string(event.manifest.tuning.repack)));
  drop_unused_templates();
}

void Brain::on(const MemorySetAside& event) { set_aside_bytes_ = event.bytes; }

void Brain::on(const DrainStarted&) {
  if (draining_) return;
  draining_ = true;
  for (FunctionEntry& entry : functions_) {
    refuse_waiting(entry.second, shutting_down(), 1);
    stir(entry);  // nobody asks its autoscaler any more
  }
  for (ReplicaEntry& entry : replicas_) {
    if (entry.second.state == domain::State::Draining) continue;
    const bool was_loading = entry.second.state == domain::State::Loading;
    drain(entry, "the server is draining");
    // It has nobody's answer to end, and an engine that loads may not listen to a request to stop.
    if (was_loading) effects_.list.push_back(KillProcess{entry.first});
  }
  for (TemplateEntry& entry : templates_) drop_template(entry, "the server is draining");
}

void Brain::on(const Tick&) {}

}  // namespace glowplug::control
