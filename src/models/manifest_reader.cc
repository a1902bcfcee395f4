#include "models/manifest_reader.h"

#include <algorithm>
#include <charconv>

#include <boost/json/value.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.h"
#include "domain/device_wish.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "models/budget_fields.h"
#include "models/manifest_fields.h"
#include "models/model_source.h"
#include "models/schedule_fields.h"
#include "models/yaml_document.h"
#include "policy/templates.h"

namespace glowplug::models {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using domain::EngineKind;
using domain::Manifest;

constexpr std::size_t kPathBytesMax = 4096;
constexpr std::size_t kPrimeBytesMax = 64 * 1024;
constexpr std::size_t kPrimesMax = 16;
constexpr std::size_t kCommandWordsMax = 256;
constexpr Duration kKeepAliveMax = 365 * 24h;
constexpr Duration kRunMax = 24h;
constexpr int kThreadsMax = 1024;

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool is_function_name(std::string_view name) {
  if (name.empty() || name.size() > 63) return false;
  if (!is_lower_or_digit(name.front()) || !is_lower_or_digit(name.back())) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_lower_or_digit(c) || c == '-'; });
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

const std::vector<std::string_view>& keys_of(const std::string& path) {
  return manifest_keys().at(path);
}

// The object under `key`, or null after a fault when it is something else.
const json::object* object_at(ManifestFields& fields, std::string_view key) {
  const json::value* value = fields.find(key);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return &value->get_object();
  fields.fault(key, fmt::format("must be a mapping, not {}", shown(*value)));
  return nullptr;
}

void read_fixed(ManifestFields& fields, std::string_view key, std::string_view wanted) {
  const json::value* value = fields.find(key);
  if (value != nullptr && (!value->is_string() || value->get_string() != wanted))
    fields.fault(key, fmt::format("must be {}, not {}", wanted, shown(*value)));
}

void read_name(ManifestFields& fields, std::string_view expected, Manifest& manifest) {
  manifest.name = std::string(expected);
  const std::size_t faults = fields.faults().size();
  fields.read_text("name", manifest.name, kPathBytesMax);
  if (fields.faults().size() != faults) return;
  if (manifest.name.empty()) return fields.fault("name", "is missing");
  if (!is_function_name(manifest.name))
    return fields.fault(
        "name",
        fmt::format("\"{}\" is not a name: 1 to 63 of a-z, 0-9 and -, not beginning or ending "
                    "with -",
                    manifest.name.substr(0, 80)));
  if (!expected.empty() && manifest.name != expected)
    fields.fault("name",
                 fmt::format("is \"{}\" but the address names \"{}\"", manifest.name, expected));
}

void read_model(ManifestFields& fields, Manifest& manifest) {
  const json::value* value = fields.find("model");
  if (value == nullptr) return;
  if (!value->is_object()) return fields.read_text("model", manifest.model, kPathBytesMax);
  ManifestFields model(value->get_object(), "model", fields.faults());
  model.refuse_unknown(keys_of("model"));
  model.read_text("source", manifest.model, kPathBytesMax);
  if (model.find("source") == nullptr) model.fault("source", "is missing");
  model.read_text("sha256", manifest.model_sha256, 64);
  if (!manifest.model_sha256.empty() && !is_sha256(manifest.model_sha256))
    model.fault("sha256", "must be 64 hexadecimal digits");
  for (char& c : manifest.model_sha256) c = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
}

bool is_fault_word(std::string_view word) {
  if (word.empty() || word == "crash_on_load" || word == "never_ready" || word == "exit_after_load")
    return true;
  if (word.starts_with("escape:"))
    return std::find(domain::kEscapeWays.begin(), domain::kEscapeWays.end(), word.substr(7)) !=
           domain::kEscapeWays.end();
  if (word.starts_with("crash_on_prompt:")) return word.size() > 16;
  for (const std::string_view prefix :
       {"crash_after_tokens:", "hang_after_tokens:", "hold_megabytes:"}) {
    if (!word.starts_with(prefix)) continue;
    const std::string_view count = word.substr(prefix.size());
    return !count.empty() && count.size() <= 9 &&
           count.find_first_not_of("0123456789") == std::string_view::npos;
  }
  return false;
}

void read_fake(const json::object& object, ManifestFields::Faults& faults,
               domain::FakeEngine& fake) {
  ManifestFields fields(object, "engine.fake", faults);
  fields.refuse_unknown(keys_of("engine.fake"));
  fields.read_duration("load_time", fake.load_time, {0s, 3600s});
  fields.read_number("tokens_per_second", fake.tokens_per_second, 0, 1e6);
  fields.read_text("fault", fake.fault, 64);
  if (!is_fault_word(fake.fault))
    fields.fault("fault",
                 fmt::format("\"{}\" is not one of crash_on_load, never_ready, exit_after_load, "
                             "crash_after_tokens:N, crash_on_prompt:TEXT, hang_after_tokens:N, "
                             "hold_megabytes:N, escape:WAY with one of {}",
                             fake.fault, fmt::join(domain::kEscapeWays, ", ")));
}

// That it sleeps before it stops is checked once keep_alive is known.
void read_sleep(const json::object& object, ManifestFields::Faults& faults,
                domain::EngineSleep& sleep) {
  ManifestFields fields(object, "engine.process.sleep", faults);
  fields.refuse_unknown(keys_of("engine.process.sleep"));
  if (fields.find("kind") == nullptr) fields.fault("kind", "is missing; vllm or sglang");
  fields.read_choice<domain::SleepKind>(
      "kind", sleep.kind,
      {{"vllm", domain::SleepKind::Vllm}, {"sglang", domain::SleepKind::Sglang}});
  fields.read_int("level", sleep.level, {1, 2});
  if (sleep.kind == domain::SleepKind::Sglang && fields.find("level") != nullptr)
    fields.fault("level", "is vLLM's; leave it out with sglang");
  fields.read_duration("after", sleep.after, {100ms, kKeepAliveMax});
  fields.read_duration("timeout", sleep.timeout, {100ms, 3600s});
}

void check_sleep(ManifestFields& fields, const Manifest& manifest) {
  const std::optional<domain::EngineSleep>& sleep = manifest.engine.process.sleep;
  if (!sleep || sleep->after < manifest.keep_alive) return;
  fields.fault("engine.process.sleep.after",
               fmt::format("is {}, and the function stops after a keep_alive of {}; it must be "
                           "shorter, or keep_alive longer",
                           format_duration(sleep->after), format_duration(manifest.keep_alive)));
}

void read_process(const json::object& object, ManifestFields::Faults& faults,
                  domain::ProcessEngine& process) {
  ManifestFields fields(object, "engine.process", faults);
  fields.refuse_unknown(keys_of("engine.process"));
  fields.read_texts("command", process.command, kCommandWordsMax, kPathBytesMax);
  const bool listed = fields.find("command") == nullptr || fields.find("command")->is_array();
  if (listed && (process.command.empty() || process.command.front().empty()))
    fields.fault("command",
                 "must be a list that begins with a program, such as [\"python3\", \"app.py\"]");
  fields.read_text("ready", process.ready, kPathBytesMax);
  if (!process.ready.starts_with('/') ||
      process.ready.find_first_of(" \r\n\t") != std::string::npos)
    fields.fault("ready", "must be a path that begins with / and has no spaces");
  fields.read_text_map("env", process.env);
  fields.read_duration("start_timeout", process.start_timeout, {100ms, 3600s});
  if (const json::object* sleep = object_at(fields, "sleep"))
    read_sleep(*sleep, faults, process.sleep.emplace());
}

void read_engine(ManifestFields& fields, domain::Engine& engine) {
  const json::value* value = fields.find("engine");
  if (value == nullptr) return;
  if (!value->is_object()) {
    fields.read_choice<EngineKind>("engine", engine.kind,
                                   {{"llama", EngineKind::Llama},
                                    {"fake", EngineKind::Fake},
                                    {"process", EngineKind::Process}});
    if (engine.kind == EngineKind::Process)
      fields.fault("engine",
                   "a process needs its command: {process: {command: [program, argument]}}");
    return;
  }
  ManifestFields choice(value->get_object(), "engine", fields.faults());
  choice.refuse_unknown(keys_of("engine"));
  if (value->get_object().size() != 1)
    return fields.fault("engine", "must name exactly one engine, fake or process");
  if (value->get_object().contains("fake")) {
    engine.kind = EngineKind::Fake;
    if (const json::object* fake = object_at(choice, "fake"))
      read_fake(*fake, fields.faults(), engine.fake);
  } else if (value->get_object().contains("process")) {
    engine.kind = EngineKind::Process;
    if (choice.find("process") == nullptr) choice.fault("process.command", "is missing");
    if (const json::object* process = object_at(choice, "process"))
      read_process(*process, fields.faults(), engine.process);
  }
}

void read_scale(ManifestFields& fields, domain::Scale& scale) {
  const json::object* object = object_at(fields, "scale");
  if (object == nullptr) return;
  ManifestFields inner(*object, "scale", fields.faults());
  inner.refuse_unknown(keys_of("scale"));
  inner.read_int("min", scale.min, {0, domain::kReplicasMax});
  inner.read_int("max", scale.max, {1, domain::kReplicasMax});
  inner.read_int("min_template", scale.min_template, {0, 1});
  inner.read_choice<domain::ScalePolicy>("policy", scale.policy,
                                         {{"concurrency", domain::ScalePolicy::Concurrency},
                                          {"threshold", domain::ScalePolicy::Threshold},
                                          {"predictive", domain::ScalePolicy::Predictive}});
  read_budget(inner, scale.budget);
  if (scale.min > scale.max)
    inner.fault("min",
                fmt::format("is {}, more than scale.max, which is {}", scale.min, scale.max));
}

void read_limits(ManifestFields& fields, domain::CallLimits& limits) {
  const json::object* object = object_at(fields, "limits");
  if (object == nullptr) return;
  ManifestFields inner(*object, "limits", fields.faults());
  inner.refuse_unknown(keys_of("limits"));
  inner.read_int("queue", limits.queue, {1, static_cast<std::int64_t>(domain::kConnectionsMax)});
  inner.read_duration("queue_timeout", limits.queue_timeout, {1ms, domain::kQueueTimeoutMax});
  inner.read_duration("timeout", limits.timeout, {1ms, kRunMax});
  inner.read_int("max_tokens", limits.max_tokens, {1, domain::kContextMax});
}

bool is_auto(const json::value* value) {
  return value != nullptr && value->is_string() && value->get_string() == "auto";
}

void read_memory(ManifestFields& fields, domain::Resources& resources) {
  const json::value* value = fields.find("memory");
  if (value == nullptr || is_auto(value)) return;
  const std::optional<std::uint64_t> bytes = memory_of(*value);
  if (!bytes)
    return fields.fault(
        "memory", fmt::format("must be auto or a size such as \"2GiB\", at least 1MiB, not {}",
                              shown(*value)));
  resources.memory_bytes = *bytes;
}

void read_resources(ManifestFields& fields, domain::Resources& resources) {
  const json::object* object = object_at(fields, "resources");
  if (object == nullptr) return;
  ManifestFields inner(*object, "resources", fields.faults());
  inner.refuse_unknown(keys_of("resources"));
  read_memory(inner, resources);
  if (!is_auto(inner.find("threads")))
    inner.read_int("threads", resources.threads, {1, kThreadsMax}, "auto or ");
  inner.read_text("device", resources.device, 64);
  if (!domain::parse_device_wish(resources.device))
    inner.fault("device", fmt::format("must be auto, cpu, gpu, or a device by its type or name, as "
                                      "A10G; with a number for one of them, as A10G:1, or with how "
                                      "many it takes, as \"A100 x2\"; not \"{}\"",
                                      resources.device));
}

// What it is known to need.
void check_budget(ManifestFields& fields, const Manifest& manifest) {
  const std::uint64_t budget = manifest.scale.budget.memory_bytes;
  const std::uint64_t need = manifest.resources.memory_bytes;
  if (budget == 0 || need <= budget) return;
  fields.fault("scale.budget.memory",
               fmt::format("is {}, and one replica takes the {} of resources.memory; raise it, or "
                           "lower that",
                           format_bytes(budget), format_bytes(need)));
}

void read_tuning(ManifestFields& fields, const Manifest& manifest, domain::Tuning& tuning) {
  const json::object* object = object_at(fields, "tuning");
  if (object == nullptr) return;
  ManifestFields inner(*object, "tuning", fields.faults());
  inner.refuse_unknown(keys_of("tuning"));
  if (!is_auto(inner.find("batch")))
    inner.read_int("batch", tuning.batch, {1, domain::kStepTokensMax}, "auto or ");
  inner.read_choice<domain::Repack>(
      "repack", tuning.repack,
      {{"auto", domain::Repack::Auto}, {"on", domain::Repack::On}, {"off", domain::Repack::Off}});
  inner.read_choice<domain::KvType>("kv", tuning.kv,
                                    {{"auto", domain::KvType::Auto},
                                     {"f16", domain::KvType::F16},
                                     {"q8_0", domain::KvType::Q8_0}});
  if (manifest.engine.kind == EngineKind::Process && tuning != domain::Tuning{})
    return fields.fault("tuning",
                        "is for the built-in engine; give engine.process.command its own options");
  const int batch_min = manifest.slots + domain::kPromptTokensMin;
  if (tuning.batch > 0 && tuning.batch < batch_min)
    inner.fault("batch",
                fmt::format("is {}, and a step needs room for a token of each of {} slots "
                            "and {} of a prompt; use auto, or {} and more",
                            tuning.batch, manifest.slots, domain::kPromptTokensMin, batch_min));
  if (manifest.task == domain::Task::Generate) return;
  if (tuning.batch > 0)
    inner.fault("batch", fmt::format("must be auto with task {}: a step holds the longest input",
                                     to_string(manifest.task)));
  if (tuning.kv == domain::KvType::Q8_0)
    inner.fault("kv", fmt::format("q8_0 is for task generate, not {}; use auto or f16",
                                  to_string(manifest.task)));
}

void check_primes(ManifestFields& fields, const Manifest& manifest) {
  const std::size_t room =
      static_cast<std::size_t>(manifest.context) * domain::kPromptBytesPerToken;
  for (std::size_t i = 0; i < manifest.prime.size(); ++i) {
    const std::string key = fmt::format("prime[{}]", i);
    const std::size_t bytes = manifest.prime[i].size();
    if (bytes == 0) fields.fault(key, "is empty; leave it out");
    if (bytes > room)
      fields.fault(key, fmt::format("has {} bytes, and no prompt of more than {} fits a context of "
                                    "{} tokens; raise context or shorten it",
                                    bytes, room, manifest.context));
  }
}

void read_plain_fields(ManifestFields& fields, Manifest& manifest) {
  fields.read_choice<domain::Task>("task", manifest.task,
                                   {{"generate", domain::Task::Generate},
                                    {"embed", domain::Task::Embed},
                                    {"rerank", domain::Task::Rerank}});
  fields.read_int("context", manifest.context, {domain::kContextMin, domain::kContextMax});
  fields.read_int("slots", manifest.slots, {1, domain::kSlotsMax});
  fields.read_keep_alive("keep_alive", manifest.keep_alive, kKeepAliveMax);
  fields.read_texts("prime", manifest.prime, kPrimesMax, kPrimeBytesMax);
  check_primes(fields, manifest);
  fields.read_text("chat_template", manifest.chat_template, kPathBytesMax);
  if (manifest.chat_template.empty())
    fields.fault("chat_template", "is empty; leave it out for the model's own");
  fields.read_choice<domain::Priority>("priority", manifest.priority,
                                       {{"high", domain::Priority::High},
                                        {"normal", domain::Priority::Normal},
                                        {"batch", domain::Priority::Batch}});
  fields.read_choice<domain::Share>(
      "share", manifest.share,
      {{"domain", domain::Share::Domain}, {"function", domain::Share::Function}});
  fields.read_choice<domain::Failover>(
      "failover", manifest.failover,
      {{"continue", domain::Failover::Continue}, {"off", domain::Failover::Off}});
  fields.read_choice<domain::TemplateUse>("template", manifest.template_use,
                                          {{"auto", domain::TemplateUse::Auto},
                                           {"on", domain::TemplateUse::On},
                                           {"off", domain::TemplateUse::Off}});
}

void check_template(ManifestFields& fields, const Manifest& manifest) {
  const bool foreign = manifest.engine.kind == EngineKind::Process;
  if (manifest.template_use == domain::TemplateUse::On && foreign)
    fields.fault("template", "cannot be on with engine.process: a foreign process does not fork");
  if (!foreign && policy::uses_template(manifest)) return;
  constexpr std::string_view kWhy =
      "asks for a template, and this function starts without one (template, engine)";
  if (manifest.scale.min_template > 0) fields.fault("scale.min_template", std::string(kWhy));
  for (std::size_t i = 0; i < manifest.schedule.size(); ++i)
    if (manifest.schedule[i].tier == domain::Tier::Template)
      fields.fault(fmt::format("schedule[{}].tier", i), std::string(kWhy));
}

// Only the built-in engine reads a model file; for the others the field is a label.
void check_model(ManifestFields& fields, const Manifest& manifest) {
  if (manifest.engine.kind != EngineKind::Llama) return;
  if (fields.find("model") == nullptr)
    return fields.fault(
        "model", "is missing; the llama engine needs one, such as \"smollm2\" or a .gguf path");
  const bool readable = fields.find("model")->is_string() || !manifest.model.empty();
  if (!readable) return;
  const auto source = parse_source(manifest.model);
  if (!source) fields.fault("model", source.error().message);
}

}  // namespace

const std::map<std::string, std::vector<std::string_view>>& manifest_keys() {
  static const std::map<std::string, std::vector<std::string_view>> keys{
      {"",
       {"apiVersion", "kind",     "name",     "model",      "task",     "engine",        "context",
        "slots",      "scale",    "schedule", "keep_alive", "prime",    "chat_template", "limits",
        "resources",  "priority", "share",    "failover",   "template", "tuning"}},
      {"model", {"source", "sha256"}},
      {"engine", {"fake", "process"}},
      {"engine.fake", {"load_time", "tokens_per_second", "fault"}},
      {"engine.process", {"command", "ready", "env", "start_timeout", "sleep"}},
      {"engine.process.sleep", {"kind", "level", "after", "timeout"}},
      {"scale", {"min", "max", "min_template", "policy", "budget"}},
      {"scale.budget", {"memory", "per_hour", "per_day"}},
      {"limits", {"queue", "queue_timeout", "timeout", "max_tokens"}},
      {"resources", {"memory", "threads", "device"}},
      {"tuning", {"batch", "repack", "kv"}}};
  return keys;
}

Result<Manifest> read_manifest(std::string_view text, std::string_view expected_name) {
  const auto document = parse_document(text);
  if (!document) return document.error();
  if (!document->is_object())
    return Error{std::string(domain::error::kManifestInvalid),
                 "a manifest is a mapping of keys, not " + shown(*document),
                 {}};
  ManifestFields::Faults faults;
  ManifestFields fields(document->get_object(), "", faults);
  Manifest manifest;
  fields.refuse_unknown(keys_of(""));
  read_fixed(fields, "apiVersion", "glowplug.dev/v1");
  read_fixed(fields, "kind", "Function");
  read_name(fields, expected_name, manifest);
  read_model(fields, manifest);
  read_engine(fields, manifest.engine);
  read_scale(fields, manifest.scale);
  read_limits(fields, manifest.limits);
  read_resources(fields, manifest.resources);
  check_budget(fields, manifest);
  read_plain_fields(fields, manifest);
  read_schedule(fields, manifest);
  check_template(fields, manifest);
  check_sleep(fields, manifest);
  read_tuning(fields, manifest, manifest.tuning);
  check_model(fields, manifest);
  if (faults.empty()) return manifest;
  return Error{
      std::string(domain::error::kManifestInvalid), fmt::format("{}", fmt::join(faults, "; ")), {}};
}

}  // namespace glowplug::models
