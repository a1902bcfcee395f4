// What the decision log holds of each event, effect and value in them: its members by name, once
// for writing and for reading. Who adds a member to one of them adds it here; decision_log_test.cc
// counts them.
//
// Thread: pure functions.
#pragma once

#include "control/brain.h"
#include "control/effects.h"
#include "control/events.h"
#include "control/log_archive.h"

namespace glowplug::domain {

// How many enumerators there are.
constexpr int count_of(Task) { return 3; }
constexpr int count_of(EngineKind) { return 3; }
constexpr int count_of(ScalePolicy) { return 3; }
constexpr int count_of(Priority) { return 3; }
constexpr int count_of(JobUrgency) { return 2; }
constexpr int count_of(Share) { return 2; }
constexpr int count_of(Failover) { return 2; }
constexpr int count_of(TemplateUse) { return 3; }
constexpr int count_of(SleepKind) { return 2; }
constexpr int count_of(Repack) { return 3; }
constexpr int count_of(KvType) { return 3; }
constexpr int count_of(DeviceOrigin) { return 2; }
constexpr int count_of(Tier) { return static_cast<int>(kTierNames.size()); }

template <typename A>
void fields(A& a, CacheDomain& v) {
  a("tenant", v.tenant);
  a.hide("salt", v.salt);
}
template <typename A>
void fields(A& a, PromptLink& v) {
  a("hash", v.hash);
  a("bytes", v.bytes);
}
template <typename A>
void fields(A& a, EngineSleep& v) {
  a("kind", v.kind);
  a("level", v.level);
  a("after", v.after);
  a("timeout", v.timeout);
}
template <typename A>
void fields(A& a, ProcessEngine& v) {
  a.hide("command", v.command);
  a("ready", v.ready);
  a.hide("env", v.env);
  a("start_timeout", v.start_timeout);
  a("sleep", v.sleep);
}
template <typename A>
void fields(A& a, FakeEngine& v) {
  a("load_time", v.load_time);
  a("tokens_per_second", v.tokens_per_second);
  a("fault", v.fault);
}
template <typename A>
void fields(A& a, Engine& v) {
  a("kind", v.kind);
  a("process", v.process);
  a("fake", v.fake);
}
template <typename A>
void fields(A& a, Money& v) {
  a("micros", v.micros);
}
template <typename A>
void fields(A& a, Price& v) {
  a("per_hour", v.per_hour);
  a("per_request", v.per_request);
}
template <typename A>
void fields(A& a, DevicePrice& v) {
  a("device", v.device);
  a("price", v.price);
}
template <typename A>
void fields(A& a, Budget& v) {
  a("memory_bytes", v.memory_bytes);
  a("per_hour", v.per_hour);
  a("per_day", v.per_day);
}
template <typename A>
void fields(A& a, Scale& v) {
  a("min", v.min);
  a("max", v.max);
  a("min_template", v.min_template);
  a("policy", v.policy);
  a("budget", v.budget);
}
template <typename A>
void fields(A& a, ScheduledHold& v) {
  a("days", v.days);
  a("from", v.from);
  a("until", v.until);
  a("tier", v.tier);
  a("count", v.count);
}
template <typename A>
void fields(A& a, CallLimits& v) {
  a("queue", v.queue);
  a("queue_timeout", v.queue_timeout);
  a("timeout", v.timeout);
  a("max_tokens", v.max_tokens);
}
template <typename A>
void fields(A& a, Resources& v) {
  a("memory_bytes", v.memory_bytes);
  a("threads", v.threads);
  a("device", v.device);
}
template <typename A>
void fields(A& a, Tuning& v) {
  a("batch", v.batch);
  a("repack", v.repack);
  a("kv", v.kv);
}
template <typename A>
void fields(A& a, Manifest& v) {
  a("name", v.name);
  a.hide_query("model", v.model);
  a("model_sha256", v.model_sha256);
  a("task", v.task);
  a("engine", v.engine);
  a("context", v.context);
  a("slots", v.slots);
  a("scale", v.scale);
  a("schedule", v.schedule);
  a("keep_alive", v.keep_alive);
  a.hide("prime", v.prime);
  a("chat_template", v.chat_template);
  a("limits", v.limits);
  a("resources", v.resources);
  a("priority", v.priority);
  a("share", v.share);
  a("failover", v.failover);
  a("template_use", v.template_use);
  a("tuning", v.tuning);
}
template <typename A>
void fields(A& a, ModelFacts& v) {
  a("path", v.path);
  a("sha256", v.sha256);
  a("architecture", v.architecture);
  a("file_bytes", v.file_bytes);
  a("weight_bytes", v.weight_bytes);
  a("kv_bytes_per_token", v.kv_bytes_per_token);
  a("vocabulary", v.vocabulary);
  a("context_trained", v.context_trained);
  a("embedding_length", v.embedding_length);
  a("chat_template", v.chat_template);
}
template <typename A>
void fields(A& a, Device& v) {
  a("name", v.name);
  a("type", v.type);
  a("memory_bytes", v.memory_bytes);
  a("count", v.count);
  a("origin", v.origin);
  a("numa_node", v.numa_node);
  a("uuid", v.uuid);
}
template <typename A>
void fields(A& a, DeviceId& v) {
  a("value", v.value);
}
template <typename A>
void fields(A& a, PhaseTimes& v) {
  for (std::size_t i = 0; i < kPhaseNames.size(); ++i) a(kPhaseNames[i], v[static_cast<Phase>(i)]);
}

}  // namespace glowplug::domain

namespace glowplug {

template <typename A>
void fields(A& a, Error& v) {
  a("code", v.code);
  a("message", v.message);
  a("param", v.param);
}

}  // namespace glowplug

namespace glowplug::policy {

template <typename A>
void fields(A& a, ProcessLimits& v) {
  a("memory_bytes", v.memory_bytes);
  a("cpu_cores", v.cpu_cores);
  a("pids", v.pids);
}

}  // namespace glowplug::policy

namespace glowplug::control {

constexpr int count_of(CallOutcome) { return 4; }
constexpr int count_of(EvictionOrder) { return 2; }
constexpr int count_of(Ending) { return 4; }
constexpr int count_of(Role) { return 3; }

template <typename A>
void fields(A& a, BrainOptions& v) {
  a("memory_bytes", v.memory_bytes);
  a("template_bytes", v.template_bytes);
  a("spares", v.spares);
  a("cores", v.cores);
  a("scale_speed", v.scale_speed);
  a("rests", v.rests);
  a("accelerators", v.accelerators);
  a("engine_on_gpu", v.engine_on_gpu);
  a("eviction", v.eviction);
  a("prices", v.prices);
  a("budget_per_hour", v.budget_per_hour);
}

// --- events ---

template <typename A>
void fields(A& a, FunctionPut& v) {
  a("manifest", v.manifest);
  a("revision", v.revision);
}
template <typename A>
void fields(A& a, FunctionDeleted& v) {
  a("function", v.function);
}
template <typename A>
void fields(A& a, TrafficSet::Served& v) {
  a("manifest", v.manifest);
  a("revision", v.revision);
  a("weight", v.weight);
}
template <typename A>
void fields(A& a, TrafficSet& v) {
  a("function", v.function);
  a("served", v.served);
}
template <typename A>
void fields(A& a, ModelProgress& v) {
  a("function", v.function);
  a("revision", v.revision);
  a("fraction", v.fraction);
  a("phase", v.phase);
}
template <typename A>
void fields(A& a, ModelPrepared& v) {
  a("function", v.function);
  a("revision", v.revision);
  a("facts", v.facts);
  a("verified", v.verified);
  a("fetched", v.fetched);
  a("resident", v.resident);
}
template <typename A>
void fields(A& a, ModelUnavailable& v) {
  a("function", v.function);
  a("revision", v.revision);
  a("error", v.error);
}
template <typename A>
void fields(A& a, ModelResidency& v) {
  a("path", v.path);
  a("resident", v.resident);
}
template <typename A>
void fields(A& a, StartMeasured& v) {
  a("process", v.process);
  a("resident", v.resident);
}
template <typename A>
void fields(A& a, ModelLost& v) {
  a("path", v.path);
  a("reason", v.reason);
}
template <typename A>
void fields(A& a, CallArrived& v) {
  a("call", v.call);
  a("function", v.function);
  a("weight", v.weight);
  a("deadline", v.deadline);
  a("keep_alive", v.keep_alive);
  a("domain", v.domain);
  a("prompt", v.prompt);
  a("retry_of", v.retry_of);
  a("urgency", v.urgency);
}
template <typename A>
void fields(A& a, AnswerBegan& v) {
  a("function", v.function);
  a("revision", v.revision);
  a("after", v.after);
}
template <typename A>
void fields(A& a, CallEnded& v) {
  a("call", v.call);
  a("outcome", v.outcome);
}
template <typename A>
void fields(A& a, CallAbandoned& v) {
  a("call", v.call);
}
template <typename A>
void fields(A& a, ProcessProgress& v) {
  a("process", v.process);
  a("fraction", v.fraction);
}
template <typename A>
void fields(A& a, ProcessReady& v) {
  a("process", v.process);
  a("sandbox", v.sandbox);
  a("bytes_read", v.bytes_read);
}
template <typename A>
void fields(A& a, ReplicaAssigned& v) {
  a("replica", v.replica);
}
template <typename A>
void fields(A& a, ProcessGone& v) {
  a("process", v.process);
  a("cause", v.cause);
  a("ending", v.ending);
  a("most_bytes", v.most_bytes);
}
template <typename A>
void fields(A& a, ReplicaAsleep& v) {
  a("replica", v.replica);
}
template <typename A>
void fields(A& a, ReplicaAwake& v) {
  a("replica", v.replica);
}
template <typename A>
void fields(A& a, SleepFailed& v) {
  a("replica", v.replica);
  a("cause", v.cause);
}
template <typename A>
void fields(A& a, WarmWanted& v) {
  a("function", v.function);
  a("count", v.count);
  a("hold", v.hold);
}
template <typename A>
void fields(A& a, PreloadWanted& v) {
  a("function", v.function);
  a("tier", v.tier);
  a("hold", v.hold);
}
template <typename A>
void fields(A& a, StopWanted& v) {
  a("function", v.function);
}
template <typename A>
void fields(A& a, FunctionTuned& v) {
  a("manifest", v.manifest);
  a("revision", v.revision);
}
template <typename A>
void fields(A& a, TemplatesRecalled& v) {
  a("functions", v.functions);
}
template <typename A>
void fields(A& a, MemorySetAside& v) {
  a("bytes", v.bytes);
}
template <typename A>
void fields(A& a, MemoryMeasured& v) {
  a("process", v.process);
  a("own_bytes", v.own_bytes);
  a("mapped_bytes", v.mapped_bytes);
}
template <typename A>
void fields(A& a, MemoryKnown& v) {
  a("key", v.key);
  a("first_bytes", v.first_bytes);
  a("peak_bytes", v.peak_bytes);
}
template <typename A>
void fields(A& a, BeginningShared& v) {
  a("replica", v.replica);
  a("tokens", v.tokens);
  a("prompts", v.prompts);
}
template <typename A>
void fields(A&, DrainStarted&) {}
template <typename A>
void fields(A&, Tick&) {}

// --- effects ---

template <typename A>
void fields(A& a, PrepareModel& v) {
  a("manifest", v.manifest);
  a("revision", v.revision);
}
template <typename A>
void fields(A& a, ReadModel& v) {
  a("function", v.function);
  a("facts", v.facts);
}
// Without `spare`, which no log has: of replicas a spare alone has no revision.
template <typename A>
void fields(A& a, StartProcess& v) {
  a("process", v.process);
  a("role", v.role);
  a("manifest", v.manifest);
  a("revision", v.revision);
  a("facts", v.facts);
  a("limits", v.limits);
  a("threads", v.threads);
  a("cores", v.cores);
  a("from", v.from);
  a("file_type", v.file_type);
  a("prime", v.prime);
  a("ahead", v.ahead);
  a("gpus", v.gpus);
  a("devices", v.devices);
}
template <typename A>
void fields(A& a, AssignReplica& v) {
  a("replica", v.replica);
  a("function", v.function);
  a("facts", v.facts);
}
template <typename A>
void fields(A& a, BindReplica& v) {
  a("replica", v.replica);
  a("domain", v.domain);
}
template <typename A>
void fields(A& a, KeepState& v) {
  a("replica", v.replica);
}
template <typename A>
void fields(A& a, SleepReplica& v) {
  a("replica", v.replica);
  a("how", v.how);
}
template <typename A>
void fields(A& a, WakeReplica& v) {
  a("replica", v.replica);
  a("how", v.how);
}
template <typename A>
void fields(A& a, SetThreads& v) {
  a("process", v.process);
  a("threads", v.threads);
}
template <typename A>
void fields(A& a, FreezeReplica& v) {
  a("replica", v.replica);
  a("frozen", v.frozen);
}
template <typename A>
void fields(A& a, StopProcess& v) {
  a("process", v.process);
}
template <typename A>
void fields(A& a, KillProcess& v) {
  a("process", v.process);
}
template <typename A>
void fields(A& a, GrantCall& v) {
  a("call", v.call);
  a("replica", v.replica);
  a("revision", v.revision);
  a("cold", v.cold);
  a("tier", v.tier);
  a("waited", v.waited);
  a("bytes_read", v.bytes_read);
}
template <typename A>
void fields(A& a, RefuseCall& v) {
  a("call", v.call);
  a("error", v.error);
  a("retry_after_s", v.retry_after_s);
}
template <typename A>
void fields(A& a, MemoryLearned& v) {
  a("key", v.key);
  a("first_bytes", v.first_bytes);
  a("peak_bytes", v.peak_bytes);
}
template <typename A>
void fields(A& a, Decision& v) {
  a("function", v.function);
  a("decision", v.decision);
  a("reason", v.reason);
}

}  // namespace glowplug::control
