// What the brain wants done, as values, in order. A driver carries them out and posts what comes of
// it. Thread: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/cache_domain.h"
#include "domain/device.h"
#include "domain/ids.h"
#include "domain/learned_prime.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "domain/phase.h"
#include "domain/tier.h"
#include "policy/admission.h"

namespace glowplug::control {

struct PrepareModel {
  domain::Manifest manifest;
  int revision = 0;
};  // answers ModelPrepared or ModelUnavailable
// Reads the file into the page cache; answers ModelResidency.
struct ReadModel {
  std::string function;
  domain::ModelFacts facts;
};
enum class Role { Replica, Template, Measure };  // Measure: says how fast it is, and ends
struct StartProcess {
  domain::ProcessId process;
  Role role = Role::Replica;
  domain::Manifest manifest;
  int revision = 0;
  domain::ModelFacts facts;
  policy::ProcessLimits limits;
  int threads = 1;
  int cores = 1;                          // threads that it may be set to later: SetThreads
  std::optional<domain::ProcessId> from;  // the template that forks it; none = executed anew
  std::string file_type;  // Measure: of a stand-in for the model, see glowplug-worker --file-type
  domain::SharedTokens prime = {};  // Template: to compute, beside its manifest's primes
  bool ahead = false;               // of any call: a fork computes a dummy batch before it is ready
  bool spare = false;  // no function's yet, whatever its manifest says: AssignReplica gives it one
  std::optional<std::string> gpus = {};  // the only ones it may see, by their UUIDs; none = all
  std::vector<domain::DeviceId> devices =
      {};  // of the brain's that it is placed on; none = the CPU
};
// A spare is to serve this function; the manifest of its start was any of its template's. Answered
// by ReplicaAssigned, or by ModelLost where the file that it was made from is not as it was.
struct AssignReplica {
  domain::ProcessId replica;
  std::string function;
  domain::ModelFacts facts;
};
// From its first grant on a replica serves this domain alone: it may be given what was kept of its
// prompts. Comes before the grant.
struct BindReplica {
  domain::ProcessId replica;
  domain::CacheDomain domain;
};
// It has been idle for a while: keep a copy of the prompt state that is worth it.
struct KeepState {
  domain::ProcessId replica;
};
// Nothing is in flight on it: its engine is to give its device memory back, or take it again.
// Answered by ReplicaAsleep, ReplicaAwake or SleepFailed.
struct SleepReplica {
  domain::ProcessId replica;
  domain::EngineSleep how;
};
struct WakeReplica {
  domain::ProcessId replica;
  domain::EngineSleep how;  // as it was put to sleep
};
// Its neighbours have come or gone: it computes with so many threads from its next step on.
struct SetThreads {
  domain::ProcessId process;
  int threads = 1;
};
// Its batch work stands still as it is, or goes on: others need the cores.
struct FreezeReplica {
  domain::ProcessId replica;
  bool frozen = true;
};
struct StopProcess {
  domain::ProcessId process;
};  // keep its prompt state and ask it to end; nothing is in flight on it
struct KillProcess {
  domain::ProcessId process;
};  // a template or an engine that does not wake: it has nothing to finish
struct GrantCall {
  domain::CallId call;
  domain::ProcessId replica;
  int revision = 0;
  bool cold = false;                          // this call waited for a start, not only for a slot
  domain::Tier tier = domain::Tier::Replica;  // from where that start came
  domain::PhaseTimes waited;  // queue: for a slot; fetch, load, fork: for the replica's start
  std::optional<std::uint64_t> bytes_read;  // from the disk for that start, as its process says
};
struct RefuseCall {
  domain::CallId call;
  Error error;
  int retry_after_s = 0;
};  // 0 = no Retry-After

// What processes of this kind take has changed: to be kept for the next server.
struct MemoryLearned {
  std::string key;
  std::uint64_t first_bytes = 0, peak_bytes = 0;
};

// One line of the decision log: what was decided about whom, why, and on which numbers.
struct Decision {
  Time at;
  std::string function;
  std::string decision;
  std::string reason;
};

using Effect =
    std::variant<PrepareModel, ReadModel, StartProcess, AssignReplica, BindReplica, KeepState,
                 SleepReplica, WakeReplica, SetThreads, FreezeReplica, StopProcess, KillProcess,
                 GrantCall, RefuseCall, MemoryLearned, Decision>;

struct Effects {
  std::vector<Effect> list;
  std::optional<Time> wake_at;  // post a Tick then; replaces every earlier wish
};

}  // namespace glowplug::control
