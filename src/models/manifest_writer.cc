#include <array>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "models/budget_fields.h"
#include "models/manifest_reader.h"
#include "models/schedule_fields.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;
using namespace domain;

// The largest unit that loses nothing: 300 s is "5m", 90 s is "90s".
std::string duration_text(Duration duration) {
  struct Unit {
    std::string_view name;
    std::int64_t ms;
  };
  static constexpr std::array kUnits{Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1'000}};
  const std::int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
  if (ms == 0) return "0s";
  for (const Unit& unit : kUnits)
    if (ms % unit.ms == 0) return fmt::format("{}{}", ms / unit.ms, unit.name);
  return fmt::format("{}ms", ms);
}

std::string bytes_text(std::uint64_t bytes) {
  if (bytes == 0) return "auto";
  if (bytes % (std::uint64_t{1} << 30) == 0) return fmt::format("{}GiB", bytes >> 30);
  if (bytes % (std::uint64_t{1} << 20) == 0) return fmt::format("{}MiB", bytes >> 20);
  return fmt::format("{}B", bytes);
}

json::array texts(const std::vector<std::string>& values) {
  return json::array(values.begin(), values.end());
}

json::object sleep_value(const EngineSleep& sleep) {
  json::object out{{"kind", to_string(sleep.kind)},
                   {"after", duration_text(sleep.after)},
                   {"timeout", duration_text(sleep.timeout)}};
  if (sleep.kind == SleepKind::Vllm) out["level"] = sleep.level;
  return out;
}

json::value engine_value(const Engine& engine) {
  if (engine.kind == EngineKind::Llama) return "llama";
  if (engine.kind == EngineKind::Fake) {
    if (engine.fake == FakeEngine{}) return "fake";
    json::object fake{{"load_time", duration_text(engine.fake.load_time)},
                      {"tokens_per_second", engine.fake.tokens_per_second}};
    if (!engine.fake.fault.empty()) fake["fault"] = engine.fake.fault;
    return json::object{{"fake", std::move(fake)}};
  }
  json::object env;
  for (const auto& [name, value] : engine.process.env) env[name] = value;
  json::object process{{"command", texts(engine.process.command)},
                       {"ready", engine.process.ready},
                       {"env", std::move(env)},
                       {"start_timeout", duration_text(engine.process.start_timeout)}};
  if (engine.process.sleep) process["sleep"] = sleep_value(*engine.process.sleep);
  return json::object{{"process", std::move(process)}};
}

std::string_view word(Priority priority) {
  return priority == Priority::High ? "high" : priority == Priority::Normal ? "normal" : "batch";
}

json::object limits_value(const CallLimits& limits) {
  return {{"queue", limits.queue},
          {"queue_timeout", duration_text(limits.queue_timeout)},
          {"timeout", duration_text(limits.timeout)},
          {"max_tokens", limits.max_tokens}};
}

json::object resources_value(const Resources& resources) {
  return {
      {"memory", bytes_text(resources.memory_bytes)},
      {"device", resources.device},
      {"threads", resources.threads == 0 ? json::value("auto") : json::value(resources.threads)}};
}

json::object tuning_value(const Tuning& tuning) {
  return {{"batch", tuning.batch == 0 ? json::value("auto") : json::value(tuning.batch)},
          {"repack", to_string(tuning.repack)},
          {"kv", to_string(tuning.kv)}};
}

}  // namespace

std::string write_manifest(const Manifest& manifest) {
  json::object out{
      {"apiVersion", "glowplug.dev/v1"}, {"kind", "Function"}, {"name", manifest.name}};
  if (!manifest.model_sha256.empty())
    out["model"] = json::object{{"source", manifest.model}, {"sha256", manifest.model_sha256}};
  else if (!manifest.model.empty())
    out["model"] = manifest.model;
  out["task"] = to_string(manifest.task);
  out["engine"] = engine_value(manifest.engine);
  out["context"] = manifest.context;
  out["slots"] = manifest.slots;
  out["scale"] = json::object{{"min", manifest.scale.min},
                              {"max", manifest.scale.max},
                              {"min_template", manifest.scale.min_template},
                              {"policy", domain::to_string(manifest.scale.policy)}};
  if (manifest.scale.budget != Budget{})
    out["scale"].get_object()["budget"] = budget_object(manifest.scale.budget);
  if (!manifest.schedule.empty()) out["schedule"] = schedule_array(manifest.schedule);
  if (manifest.keep_alive == kForever)
    out["keep_alive"] = -1;
  else
    out["keep_alive"] = duration_text(manifest.keep_alive);
  out["prime"] = texts(manifest.prime);
  out["chat_template"] = manifest.chat_template;
  out["limits"] = limits_value(manifest.limits);
  out["resources"] = resources_value(manifest.resources);
  out["priority"] = word(manifest.priority);
  out["share"] = manifest.share == Share::Domain ? "domain" : "function";
  out["failover"] = manifest.failover == Failover::Continue ? "continue" : "off";
  out["template"] = to_string(manifest.template_use);
  out["tuning"] = tuning_value(manifest.tuning);
  return json::serialize(out);
}

}  // namespace glowplug::models
