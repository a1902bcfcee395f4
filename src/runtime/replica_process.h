// One process, a replica's or a template's, from its start to its last trace: pipes, readiness,
// signals, exit, folder.
//
//   start ───────────▶ loading ─▶ ready ─▶ exited ─▶ (group killed and reaped) ─▶ gone
//   fork ─▶ unborn ───────▲ │                ▲                                     ▲
//              │            └─ failed, stalled, too late: killed                   │
//              └── the template could not fork, or is gone ────────────────────────┘
//
// An unborn replica has been ordered from a template and has not yet said its process number.
//
// Thread: the server loop's. Destroying it kills the process group, waits for its leader and
// removes the folder, and then the listener hears nothing more. The listener may destroy it from
// gone().
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/time_types.h"
#include "control/events.h"
#include "control/platform.h"
#include "domain/ids.h"
#include "runtime/child_spawn.h"
#include "runtime/launch_plan.h"
#include "runtime/leaf_cgroup.h"
#include "runtime/state_orders.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::runtime {

struct ReplicaTimes {
  Duration load_stall_timeout{};
  Duration stop_grace{};
  Duration fork_limit{};
};

class ReplicaListener {
 public:
  virtual ~ReplicaListener() = default;
  virtual void progress(domain::ProcessId process, double fraction) = 0;
  // `sandbox`: the layers in force, in words; those of its leaf alone for a process engine.
  // `bytes_read`: from the disk, to load; nothing where the process does not say.
  virtual void ready(domain::ProcessId process, const std::string& sandbox,
                     std::optional<std::uint64_t> bytes_read) = 0;
  // Copies of what its slots held, a file each.
  virtual void kept(domain::ProcessId process, std::vector<KeptCopy> copies) = 0;
  virtual void wants(domain::ProcessId process, std::uint64_t state) = 0;
  virtual void printed(domain::ProcessId process, std::string_view line) = 0;
  virtual void gone(const control::ProcessGone& end) = 0;  // last, once
};

class ReplicaProcess final {
 public:
  // `leaf`: where it lives and what it may take; nothing where cgroups are off or refuse. `begun`:
  // a worker that stood by and was told the plan; nothing: it is executed now.
  static Result<std::unique_ptr<ReplicaProcess>> start(boost::asio::io_context& loop,
                                                       domain::ProcessId process, LaunchPlan plan,
                                                       std::optional<Leaf> leaf, ReplicaTimes times,
                                                       ReplicaListener& listener,
                                                       std::optional<SpawnedChild> begun = {});
  // From a template that is ready. When it dies before the replica has said its number, the replica
  // is gone; one that does not fork in time is killed.
  static Result<std::unique_ptr<ReplicaProcess>> fork(boost::asio::io_context& loop,
                                                      domain::ProcessId process, LaunchPlan plan,
                                                      std::optional<Leaf> leaf, ReplicaTimes times,
                                                      ReplicaListener& listener,
                                                      const ReplicaProcess& from);
  ~ReplicaProcess();
  ReplicaProcess(const ReplicaProcess&) = delete;
  ReplicaProcess& operator=(const ReplicaProcess&) = delete;

  void stop();  // of a replica that was told what it may remember: once its states are kept
  void kill();
  // Of prompt states (state_orders.h). A replica that does not hear is one that ends.
  void remember(std::span<const RememberedPrompt> prompts);
  void keep();
  void give(std::uint64_t id, UniqueFd state);
  const control::Endpoint& endpoint() const;
  pid_t pid() const;    // -1 while unborn and once reaped
  int control() const;  // for orders that need no answer; not to be kept

 private:
  class State;
  explicit ReplicaProcess(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // owners: this object and the handlers waiting on the loop
};

}  // namespace glowplug::runtime
