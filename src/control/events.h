// Everything that can happen to the brain, as values. The edges post these; the brain never asks.
// Thread: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/cache_domain.h"
#include "domain/ids.h"
#include "domain/job.h"
#include "domain/learned_prime.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "domain/prompt_links.h"
#include "domain/tier.h"

namespace glowplug::control {

struct FunctionPut {
  domain::Manifest manifest;
  int revision = 1;  // numbered by whoever stores functions
};
struct FunctionDeleted {
  std::string function;
};
// These revisions share the calls by weight from now on, or once what is new of them is ready; also
// for a function that is not known yet. The largest weight first, no weight is zero.
struct TrafficSet {
  struct Served {
    domain::Manifest manifest;
    int revision = 0;
    int weight = 0;
  };
  std::string function;
  std::vector<Served> served;
};

struct ModelProgress {
  std::string function;
  int revision = 0;
  double fraction = 0;
  std::string phase;
};  // fetch | verify
struct ModelPrepared {
  std::string function;
  int revision = 0;
  domain::ModelFacts facts;
  Duration verified{};    // what its digest took, at the end
  bool fetched = false;   // it was not on this machine before
  bool resident = false;  // the page cache holds it wholly
};
struct ModelUnavailable {
  std::string function;
  int revision = 0;
  Error error;
};

// The page cache holds the file wholly, or no longer does.
struct ModelResidency {
  std::string path;
  bool resident = false;
};
// The same of the file that a process is about to load.
struct StartMeasured {
  domain::ProcessId process;
  bool resident = false;
};
// The file is damaged, changed or gone: nothing is started from it any more. Another file with the
// same content is not concerned.
struct ModelLost {
  std::string path;
  std::string reason;
};

struct CallArrived {
  domain::CallId call;
  std::string function;
  int weight = 1;  // slots it occupies: n choices weigh n
  Time deadline;   // the latest moment it may still be waiting
  std::optional<Duration>
      keep_alive;  // the caller's own value for this function's next idle period
  domain::CacheDomain domain = {};
  domain::PromptLinks prompt = {};
  // An earlier call of the same request, whose replica broke off before its first byte: it gets a
  // replica to itself, or is refused where too much is tried again.
  std::optional<domain::CallId> retry_of = {};
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
};
// The first token of an answer has come, so long after its call did. The call may have ended since.
struct AnswerBegan {
  std::string function;
  int revision = 0;
  Duration after{};
};
// ReplicaBroke: the connection ended in the midst of the answer, so the replica gets no new calls.
// Stopped: its caller left, or its time was over, which says nothing of the replica. Unsent: the
// same before its replica was asked, which says nothing of how long a call has a slot either.
enum class CallOutcome { Answered, ReplicaBroke, Stopped, Unsent };
// The answer is complete, or was broken off after the grant.
struct CallEnded {
  domain::CallId call;
  CallOutcome outcome = CallOutcome::Answered;
};
struct CallAbandoned {
  domain::CallId call;
};  // the caller left while waiting

// Of replicas and templates alike.
struct ProcessProgress {
  domain::ProcessId process;
  double fraction = 0;
};
struct ProcessReady {
  domain::ProcessId process;
  std::string sandbox = {};                      // its layers in force, in words
  std::optional<std::uint64_t> bytes_read = {};  // from the disk, to load; none = it does not say
};
struct ReplicaAssigned {
  domain::ProcessId replica;
};
// Asked: we ended it. Itself: it crashed or exited, also while it was being asked. Killed: by a
// SIGKILL that was not ours (an operator, the kernel where nobody can say so), so that another try
// may well succeed. OutOfMemory: the same, by the kernel for want of memory.
enum class Ending { Asked, Itself, Killed, OutOfMemory };
struct ProcessGone {
  domain::ProcessId process;
  std::string cause;  // how it ended, and after ": " what it said last
  Ending ending = Ending::Itself;
  // The most that its leaf was ever charged with; nothing where the machine does not say.
  std::optional<std::uint64_t> most_bytes = {};
};  // it is reaped

// What came of a SleepReplica or a WakeReplica.
struct ReplicaAsleep {
  domain::ProcessId replica;
};
struct ReplicaAwake {
  domain::ProcessId replica;
};
struct SleepFailed {
  domain::ProcessId replica;
  std::string cause;
};

struct WarmWanted {
  std::string function;
  int count = 1;
  Duration hold{};
};
// Brings what serves to a tier ahead of calls, and holds it there: Disk, Memory (both held by
// nobody), Template or Replica.
struct PreloadWanted {
  std::string function;
  domain::Tier tier = domain::Tier::Template;
  Duration hold{};  // kForever = until the function stops or is deleted
};
struct StopWanted {
  std::string function;
};
// What `auto` of a revision stands for has been measured: its next process starts as this manifest
// says. Those that run go on as they are.
struct FunctionTuned {
  domain::Manifest manifest;
  int revision = 0;
};
// After a restart: a template of each of these was resident, the most valuable first. They are
// loaded one by one where there is room, while nobody waits.
struct TemplatesRecalled {
  std::vector<std::string> functions;
};
// Taken by work that is no replica (a tune); 0 = given back.
struct MemorySetAside {
  std::uint64_t bytes = 0;
};
// What a process that is ready holds: of its own, which its end would give back, and with all that
// it shares with others.
struct MemoryMeasured {
  domain::ProcessId process;
  std::uint64_t own_bytes = 0;
  std::uint64_t mapped_bytes = 0;
};
// What an earlier server has learned of a kind of process: policy/memory_ledger.h.
struct MemoryKnown {
  std::string key;
  std::uint64_t first_bytes = 0, peak_bytes = 0;
};
// Prompts of this replica's cache domain that were kept begin alike: policy/shared_beginning.h.
struct BeginningShared {
  domain::ProcessId replica;
  domain::SharedTokens tokens;
  std::size_t prompts = 0;
};
struct DrainStarted {};  // no new calls; idle replicas stop
struct Tick {};          // the moment named by Effects::wake_at has come

using Event =
    std::variant<FunctionPut, FunctionDeleted, TrafficSet, ModelProgress, ModelPrepared,
                 ModelUnavailable, ModelResidency, StartMeasured, ModelLost, CallArrived,
                 AnswerBegan, CallEnded, CallAbandoned, ProcessProgress, ProcessReady,
                 ReplicaAssigned, ProcessGone, ReplicaAsleep, ReplicaAwake, SleepFailed, WarmWanted,
                 PreloadWanted, StopWanted, FunctionTuned, TemplatesRecalled, MemorySetAside,
                 MemoryMeasured, MemoryKnown, BeginningShared, DrainStarted, Tick>;

}  // namespace glowplug::control
