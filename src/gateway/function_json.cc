#include "gateway/function_json.h"

#include <algorithm>
#include <string>

#include <boost/json/array.hpp>

#include "base/units.h"
#include "models/budget_fields.h"
#include "models/schedule_fields.h"
#include "models/tuning_record.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

json::value duration_value(Duration duration) {
  if (duration == kForever) return -1;
  return json::value(format_duration(duration));
}

std::uint64_t memory_of(domain::ProcessId process, std::uint64_t reserved,
                        const GatewayOptions& options) {
  const std::uint64_t measured = options.memory_of ? options.memory_of(process) : 0;
  return measured > 0 ? measured : reserved;
}

bool is_alive(const control::ReplicaView& replica) {
  return replica.asleep ||
         (replica.state != domain::State::Cold && replica.state != domain::State::Failed);
}

json::object sleep_object(const domain::EngineSleep& sleep) {
  json::object object{{"kind", domain::to_string(sleep.kind)}};
  if (sleep.kind == domain::SleepKind::Vllm) object["level"] = sleep.level;
  object["after"] = duration_value(sleep.after);
  object["timeout"] = duration_value(sleep.timeout);
  return object;
}

json::object engine_object(const domain::Manifest& manifest) {
  json::object engine;
  if (manifest.engine.kind == domain::EngineKind::Process) {
    json::array command;
    for (const std::string& word : manifest.engine.process.command) command.emplace_back(word);
    json::object process;
    process["command"] = std::move(command);
    process["ready"] = manifest.engine.process.ready;
    // Values of env may be secrets; their names are enough to recognise the declaration.
    json::array names;
    for (const auto& [name, value] : manifest.engine.process.env) names.emplace_back(name);
    process["env_names"] = std::move(names);
    process["start_timeout"] = duration_value(manifest.engine.process.start_timeout);
    if (const auto& sleep = manifest.engine.process.sleep) process["sleep"] = sleep_object(*sleep);
    engine["process"] = std::move(process);
  } else if (manifest.engine.kind == domain::EngineKind::Fake) {
    json::object fake;
    fake["load_time"] = duration_value(manifest.engine.fake.load_time);
    fake["tokens_per_second"] = manifest.engine.fake.tokens_per_second;
    fake["fault"] = manifest.engine.fake.fault;
    engine["fake"] = std::move(fake);
  }
  return engine;
}

std::string_view priority_name(domain::Priority priority) {
  if (priority == domain::Priority::High) return "high";
  return priority == domain::Priority::Batch ? "batch" : "normal";
}

json::object template_object(const control::TemplateView& shown, const GatewayOptions& options) {
  json::object object{{"id", shown.process.value},
                      {"state", domain::to_string(shown.state)},
                      {"memory_bytes", memory_of(shown.process, shown.memory_bytes, options)},
                      {"reserved_bytes", shown.memory_bytes},
                      {"primes", shown.primes},
                      {"learned", shown.learned}};
  json::array spares;
  for (const control::TemplateView::Spare& spare : shown.spares) {
    const std::uint64_t bytes = memory_of(spare.process, spare.memory_bytes, options);
    spares.emplace_back(json::object{{"id", spare.process.value},
                                     {"memory_bytes", bytes},
                                     {"reserved_bytes", spare.memory_bytes}});
  }
  object["spares"] = std::move(spares);
  return object;
}

// Null until its model's header is read.
json::value placement_value(const std::optional<policy::Placement>& placed) {
  if (!placed) return nullptr;
  return json::object{{"type", placed->type},
                      {"count", placed->count},
                      {"bytes_each", placed->bytes_each},
                      {"reason", placed->reason}};
}

// What every answer about a function opens with.
json::object function_head(const control::FunctionView& view) {
  return {{"object", "function"},
          {"function", view.manifest.name},
          {"revision", view.revision},
          {"state", domain::to_string(view.state)},
          {"tier", domain::to_string(view.tier)}};
}

json::array holds_array(const control::FunctionView& view, Time now) {
  json::array list;
  for (const control::HoldView& one : view.holds) {
    json::object hold{{"by", one.by}, {"tier", domain::to_string(one.tier)}, {"count", one.count}};
    if (one.until)
      hold["left"] = duration_value(
          *one.until == Time::max() ? kForever : std::max(Duration(0), *one.until - now));
    list.push_back(std::move(hold));
  }
  return list;
}

// Null before there was anything to decide by, and some time after.
json::value scaling_value(const control::FunctionView& view) {
  if (!view.scaling) return nullptr;
  return json::object{{"policy", domain::to_string(view.scaling->policy)},
                      {"wanted", view.scaling->wanted},
                      {"reason", view.scaling->reason}};
}

// What serves, the heaviest first, and with the weight 0 what is about to.
json::array revisions_array(const control::FunctionView& view) {
  json::array list;
  for (const control::RevisionStatus& one : view.revisions)
    list.emplace_back(json::object{{"revision", one.revision},
                                   {"weight", one.weight},
                                   {"state", domain::to_string(one.state)},
                                   {"reason", one.reason}});
  return list;
}

}  // namespace

json::object manifest_object(const domain::Manifest& manifest) {
  json::object object;
  object["name"] = manifest.name;
  object["model"] = manifest.model;
  if (!manifest.model_sha256.empty()) object["model_sha256"] = manifest.model_sha256;
  object["task"] = domain::to_string(manifest.task);
  if (manifest.engine.kind == domain::EngineKind::Llama)
    object["engine"] = "llama";
  else
    object["engine"] = engine_object(manifest);
  object["context"] = manifest.context;
  object["slots"] = manifest.slots;
  object["scale"] = json::object{{"min", manifest.scale.min},
                                 {"max", manifest.scale.max},
                                 {"min_template", manifest.scale.min_template},
                                 {"policy", domain::to_string(manifest.scale.policy)}};
  if (manifest.scale.budget != domain::Budget{})
    object["scale"].get_object()["budget"] = models::budget_object(manifest.scale.budget);
  if (!manifest.schedule.empty()) object["schedule"] = models::schedule_array(manifest.schedule);
  object["keep_alive"] = duration_value(manifest.keep_alive);
  json::array prime;
  for (const std::string& text : manifest.prime) prime.emplace_back(text);
  object["prime"] = std::move(prime);
  object["chat_template"] = manifest.chat_template;
  json::object limits;
  limits["queue"] = manifest.limits.queue;
  limits["queue_timeout"] = duration_value(manifest.limits.queue_timeout);
  limits["timeout"] = duration_value(manifest.limits.timeout);
  limits["max_tokens"] = manifest.limits.max_tokens;
  object["limits"] = std::move(limits);
  json::object resources;
  if (manifest.resources.memory_bytes == 0)
    resources["memory"] = "auto";
  else
    resources["memory"] = manifest.resources.memory_bytes;
  if (manifest.resources.threads == 0)
    resources["threads"] = "auto";
  else
    resources["threads"] = manifest.resources.threads;
  resources["device"] = manifest.resources.device;
  object["resources"] = std::move(resources);
  object["priority"] = priority_name(manifest.priority);
  object["share"] = manifest.share == domain::Share::Domain ? "domain" : "function";
  object["failover"] = manifest.failover == domain::Failover::Continue ? "continue" : "off";
  object["template"] = domain::to_string(manifest.template_use);
  json::object tuning = models::settings_object({.threads = 0, .tuning = manifest.tuning});
  tuning.erase("threads");  // among the resources
  object["tuning"] = std::move(tuning);
  return object;
}

json::object function_object(const control::FunctionView& view, const GatewayOptions& options,
                             Time now) {
  int alive = 0;
  std::uint64_t memory = 0;
  json::array list;
  for (const control::ReplicaView& replica : view.replicas) {
    alive += is_alive(replica) ? 1 : 0;
    const std::uint64_t bytes = memory_of(replica.replica, replica.memory_bytes, options);
    memory += is_alive(replica) ? bytes : 0;
    list.emplace_back(
        json::object{{"id", replica.replica.value},
                     {"revision", replica.revision},
                     {"state", domain::to_string(replica.state)},
                     {"asleep", replica.asleep},
                     {"in_flight", replica.in_flight},
                     {"threads", replica.threads},
                     {"frozen", replica.frozen},
                     {"memory_bytes", bytes},
                     {"reserved_bytes", replica.memory_bytes},
                     {"devices", json::array(replica.devices.begin(), replica.devices.end())},
                     {"sandbox", replica.sandbox},
                     {"progress", replica.progress}});
  }
  json::object object = function_head(view);
  object["revisions"] = revisions_array(view);
  object["replicas"] = alive;
  object["in_flight"] = view.in_flight;
  object["waiting"] = view.waiting;
  object["memory_bytes"] = memory;
  object["reserved_bytes"] = view.memory_bytes;
  if (view.template_view) object["template"] = template_object(*view.template_view, options);
  object["placement"] = placement_value(view.placement);
  object["holds"] = holds_array(view, now);
  object["scaling"] = scaling_value(view);
  object["calls"] = view.calls;
  object["cold_starts"] = view.cold_starts;
  object["progress"] = view.progress;
  object["reason"] = view.reason;
  object["model"] = view.manifest.model;
  object["task"] = domain::to_string(view.manifest.task);
  object["engine"] = domain::to_string(view.manifest.engine.kind);
  object["context"] = view.manifest.context;
  object["slots"] = view.manifest.slots;
  object["keep_alive"] = duration_value(view.manifest.keep_alive);
  object["replica_list"] = std::move(list);
  return object;
}

json::object function_document(const control::FunctionView& view, const GatewayOptions& options,
                               Time now) {
  json::object object = function_object(view, options, now);
  object["manifest"] = manifest_object(view.manifest);
  if (view.tuned) object["tuned"] = models::tune_object(*view.tuned);
  return object;
}

json::object progress_object(const control::FunctionView& view) {
  json::array list;
  for (const control::ReplicaView& replica : view.replicas)
    list.emplace_back(json::object{{"id", replica.replica.value},
                                   {"revision", replica.revision},
                                   {"state", domain::to_string(replica.state)},
                                   {"progress", replica.progress}});
  json::object object = function_head(view);
  object["progress"] = view.progress;
  object["reason"] = view.reason;
  object["replica_list"] = std::move(list);
  return object;
}

json::object model_object(const control::FunctionView& view, std::int64_t created) {
  json::object meta;
  meta["task"] = domain::to_string(view.manifest.task);
  meta["architecture"] = view.facts.architecture;
  meta["file_bytes"] = view.facts.file_bytes;
  meta["context_trained"] = view.facts.context_trained;
  meta["vocabulary"] = view.facts.vocabulary;
  meta["embedding_length"] = view.facts.embedding_length;
  json::object object;
  object["id"] = view.manifest.name;
  object["object"] = "model";
  object["created"] = created;
  object["owned_by"] = "glowplug";
  object["state"] = domain::to_string(view.state);
  object["tier"] = domain::to_string(view.tier);
  object["context_length"] = view.manifest.context;
  object["meta"] = std::move(meta);
  return object;
}

}  // namespace glowplug::gateway
