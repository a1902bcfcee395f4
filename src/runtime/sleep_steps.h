// What is asked of an engine over HTTP so that it gives its device memory back, and takes it again:
// one list of steps for each kind of engine, and what their answers mean.
//
//   vllm    POST /sleep?level=N                               until /is_sleeping says true
//           POST /wake_up                                     until it says false
//           level 2: weights awake, read again, KV cache awake, then as above; prefixes forgotten
//   sglang  POST /release_memory_occupation                   its answer comes when it is done
//           POST /resume_memory_occupation                    until /health_generate answers 200
//
// vLLM may answer before it has done what it was asked for, so it is asked for its state as well.
// No caller reaches these routes: the gateway passes on none of them.
//
// Thread: pure functions. runtime/sleep_runner.h carries them out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "domain/manifest.h"
#include "runtime/replica_request.h"

namespace glowplug::runtime {

// When a step is over. The last three are asked again until they are.
enum class Until { Accepted, Healthy, SaysAsleep, SaysAwake };

struct SleepStep {
  HttpMethod method = HttpMethod::Get;
  std::string target;
  std::string body = {};  // JSON; empty = none
  Until until = Until::Accepted;
  friend bool operator==(const SleepStep&, const SleepStep&) = default;
};

std::vector<SleepStep> sleep_steps(const domain::EngineSleep& how);
std::vector<SleepStep> wake_steps(const domain::EngineSleep& how);

enum class Verdict { Done, Again, Failed };
Verdict judge(const SleepStep& step, const ReplicaReply& reply);

// "POST /sleep?level=1 answered 500: out of memory"
std::string in_words(const SleepStep& step, const Result<ReplicaReply>& reply);

}  // namespace glowplug::runtime
