// A function as its owner declares it (apiVersion glowplug.dev/v1, kind Function). Read from YAML
// or JSON by models/manifest_reader; the published schema is api/manifest.schema.json. Defaults
// here are the documented ones.
//
// Thread: a value; compared whole to decide whether a deploy makes a new revision.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time_types.h"
#include "domain/engine_settings.h"
#include "domain/price.h"
#include "domain/schedule.h"

namespace glowplug::domain {

using namespace std::chrono_literals;

enum class Task { Generate, Embed, Rerank };
enum class EngineKind { Llama, Fake, Process };
enum class ScalePolicy { Concurrency, Threshold, Predictive };
enum class Priority { High, Normal, Batch };
enum class Share { Domain, Function };
enum class Failover { Continue, Off };
// Whether replicas are forked from a resident template. Auto: the built-in engine on a CPU.
enum class TemplateUse { Auto, On, Off };

constexpr std::string_view to_string(Task task) {
  return task == Task::Generate ? "generate" : task == Task::Embed ? "embed" : "rerank";
}
constexpr std::string_view to_string(ScalePolicy policy) {
  return policy == ScalePolicy::Threshold    ? "threshold"
         : policy == ScalePolicy::Predictive ? "predictive"
                                             : "concurrency";
}
constexpr std::string_view to_string(TemplateUse use) {
  return use == TemplateUse::Auto ? "auto" : use == TemplateUse::On ? "on" : "off";
}
constexpr std::string_view to_string(EngineKind kind) {
  return kind == EngineKind::Llama ? "llama" : kind == EngineKind::Fake ? "fake" : "process";
}

// Engines that can give their device memory back and keep their process, by what they are asked.
enum class SleepKind { Vllm, Sglang };
constexpr std::string_view to_string(SleepKind kind) {
  return kind == SleepKind::Vllm ? "vllm" : "sglang";
}
// `sleep: {kind: vllm, level: 1, after: 30s, timeout: 60s}`. Asleep it keeps its host memory
// reserved; keep_alive, counted from the last call as ever, ends it.
struct EngineSleep {
  SleepKind kind = SleepKind::Vllm;
  int level = 1;           // of vLLM: 1 keeps the weights in host memory, 2 reads them anew
  Duration after = 30s;    // idle time before it sleeps; shorter than keep_alive
  Duration timeout = 60s;  // longest that falling asleep, or waking, may take
  friend bool operator==(const EngineSleep&, const EngineSleep&) = default;
};

// `engine: {process: {command: [...], ready: /health, env: {...}}}`. In command and env, {socket},
// {port}, {model}, {context}, {slots}, {threads} and {url} (this server's own address) are replaced
// at start.
struct ProcessEngine {
  std::vector<std::string> command;
  std::string ready = "/health";  // path that answers 200 once the process can serve
  std::map<std::string, std::string> env;
  Duration start_timeout = 60s;
  std::optional<EngineSleep> sleep;  // none: it is awake until it stops
  friend bool operator==(const ProcessEngine&, const ProcessEngine&) = default;
};

// `engine: {fake: {...}}`: what the fake engine pretends; faults are "crash_on_load",
// "never_ready", "crash_after_tokens:N", "crash_on_prompt:TEXT", "hang_after_tokens:N",
// "exit_after_load", "hold_megabytes:N", and "escape:WAY", to see the sandbox hold, with one of:
inline constexpr std::array<std::string_view, 9> kEscapeWays{
    "open_file", "write_file", "connect", "new_socket", "exec",
    "ptrace",    "kill",       "fork",    "allocate"};
struct FakeEngine {
  Duration load_time = 20ms;
  double tokens_per_second = 200;
  std::string fault;
  friend bool operator==(const FakeEngine&, const FakeEngine&) = default;
};

struct Engine {
  EngineKind kind = EngineKind::Llama;
  ProcessEngine process;
  FakeEngine fake;
  friend bool operator==(const Engine&, const Engine&) = default;
};

// `scale: {budget: {memory: 4GiB, per_hour: 2.5, per_day: 10}}`: what the replicas of a function
// may reserve, and cost, together; and what its calls may cost their callers on one day (UTC).
struct Budget {
  std::uint64_t memory_bytes = 0;  // 0 = as much as there is
  Money per_hour = {};             // the same
  Money per_day = {};              // the same; policy/daily_budget.h
  friend bool operator==(const Budget&, const Budget&) = default;
};

struct Scale {
  int min = 0;
  int max = 20;
  int min_template = 0;  // 1: the template is held resident
  ScalePolicy policy = ScalePolicy::Concurrency;
  Budget budget = {};
  friend bool operator==(const Scale&, const Scale&) = default;
};

struct CallLimits {
  int queue = 512;               // calls held at once
  Duration queue_timeout = 60s;  // longest hold
  Duration timeout = 600s;       // longest run
  int max_tokens = 4096;         // cap of one answer
  friend bool operator==(const CallLimits&, const CallLimits&) = default;
};

struct Resources {
  std::uint64_t memory_bytes = 0;  // 0 = auto: estimated from the model file
  int threads = 0;                 // 0 = auto
  std::string device = "auto";
  friend bool operator==(const Resources&, const Resources&) = default;
};

struct Manifest {
  std::string name;
  std::string
      model;  // catalogue name, file path, hf:org/repo:file, https://…; empty for process and fake
  std::string model_sha256;  // lower-case hex; empty = not pinned
  Task task = Task::Generate;
  Engine engine;
  int context = 2048;  // tokens per slot
  int slots = 4;       // requests one replica serves at once
  Scale scale;
  Schedule schedule;
  Duration keep_alive = 300s;  // kForever = never stops, 0 = stops at once
  std::vector<std::string> prime;
  std::string chat_template =
      "builtin";  // or a file's path, or the name of a shipped template ("tools")
  CallLimits limits;
  Resources resources;
  Priority priority = Priority::Normal;
  Share share = Share::Domain;
  Failover failover = Failover::Continue;
  TemplateUse template_use = TemplateUse::Auto;
  Tuning tuning;

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

}  // namespace glowplug::domain
