// What the brain shows of itself: plain copies for status pages, `ps`, metrics and watchers.
// Nothing here gates a decision. Thread: values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/time_types.h"
#include "domain/device.h"
#include "domain/ids.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "domain/replica_state.h"
#include "domain/tier.h"
#include "policy/allocator.h"

namespace glowplug::control {

struct ReplicaView {
  domain::ProcessId replica;
  int revision = 0;
  domain::State state = domain::State::Cold;
  bool asleep = false;  // state is cold, and yet its process is there
  int in_flight = 0;
  double progress = 0;  // of loading, 0..1
  int threads = 0;
  bool frozen = false;                // batch work that stands still for others
  std::uint64_t memory_bytes = 0;     // reserved
  std::uint64_t inherited_bytes = 0;  // of it, of a template that is gone
  std::vector<std::string> devices;   // CPU, or its accelerators
  std::string sandbox;  // layers in force, as "netns,landlock7,seccomp,nocaps,memory,cpu,pids"
};

// The process that a function's replicas are forked from; other functions may share it.
struct TemplateView {
  domain::ProcessId process;
  domain::State state = domain::State::Loading;
  std::uint64_t memory_bytes = 0;  // reserved
  std::size_t primes = 0;          // prompts that its replicas start with
  std::size_t learned = 0;         // templates beside it that hold a learned prime each
  Time last_used{};
  struct Spare {
    domain::ProcessId process;
    std::uint64_t memory_bytes = 0;  // reserved
  };
  std::vector<Spare> spares;
};

// Why a function is ahead of its calls.
struct HoldView {
  std::string by;                             // scale, schedule, warm or preload
  domain::Tier tier = domain::Tier::Replica;  // Template or Replica
  int count = 1;                              // of replicas
  std::optional<Time> until;  // none: as long as the manifest says so; Time::max() = until stopped
};

// What an autoscaler wished when it was last asked.
struct ScaleView {
  domain::ScalePolicy policy = domain::ScalePolicy::Concurrency;
  int wanted = 0;  // replicas
  std::string reason;
};

// Whether a request is to blame for a replica that broke off its answer. Open: it is, should that
// replica turn out to have died.
enum class Blamed { No, Open, Yes };

// One revision that serves, or will once it is ready.
struct RevisionStatus {
  int revision = 0;
  int weight = 0;  // of 100 calls; 0 = it does not serve yet
  domain::State state = domain::State::Cold;
  std::string reason;  // why it is failed
  friend bool operator==(const RevisionStatus&, const RevisionStatus&) = default;
};

// A generation as a granted call needs it.
struct GenerationView {
  domain::Manifest manifest;
  domain::ModelFacts facts;
};

// What a request to a function is read against: the manifest that its heaviest revision runs with
// (what tuning found is filled in, unlike FunctionView's) and its model's facts. No copies: good
// until the platform is next told something, so never across a wait.
struct CalleeView {
  const domain::Manifest& manifest;
  const domain::ModelFacts& facts;
};

struct FunctionView {
  domain::Manifest manifest;
  int revision = 0;
  domain::State state = domain::State::Cold;
  domain::Tier tier = domain::Tier::Remote;  // where the next call would start from
  std::string reason;                        // why it is failed, or what it waits for
  bool quarantined = false;                  // a revision that serves is, or is on trial after that
  double progress = 0;                       // of a fetch or load under way, 0..1
  int waiting = 0;
  int in_flight = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t calls = 0;
  std::uint64_t cold_starts = 0;
  domain::ModelFacts facts;
  std::vector<RevisionStatus> revisions;  // the heaviest first
  std::vector<ReplicaView> replicas;
  std::optional<TemplateView> template_view;
  std::vector<HoldView> holds;
  std::optional<ScaleView> scaling;  // of this revision, while there is something to decide by
  std::optional<domain::TuneResult> tuned;     // of this revision on this machine
  std::optional<policy::Placement> placement;  // once its model is prepared
};

// One device of the pool, with what is on it.
struct DeviceView {
  domain::Device device;
  std::uint64_t reserved_bytes = 0;
  domain::DeviceHealth health = domain::DeviceHealth::Healthy;
  int failed_starts = 0;  // in a row
  std::optional<Time> quarantined_until;
  std::vector<std::string> functions;  // with a replica there
};

// What a watcher hears about, and nothing that every call changes: small, so that it can be
// compared after each turn of the brain.
struct ReplicaStatus {
  domain::ProcessId replica;
  int revision = 0;
  domain::State state = domain::State::Cold;
  double progress = 0;
  friend bool operator==(const ReplicaStatus&, const ReplicaStatus&) = default;
};

struct FunctionStatus {
  int revision = 0;
  domain::State state = domain::State::Cold;
  domain::Tier tier = domain::Tier::Remote;
  std::string reason;
  double progress = 0;
  std::vector<RevisionStatus> revisions;
  std::vector<ReplicaStatus> replicas;
  friend bool operator==(const FunctionStatus&, const FunctionStatus&) = default;
};

// In rising order: of two that come together the later one is told.
enum class Change { None, Progress, State, Deleted };

// Progress when only the fractions of a fetch or load differ.
Change change_between(const FunctionStatus& before, const FunctionStatus& after);

}  // namespace glowplug::control
