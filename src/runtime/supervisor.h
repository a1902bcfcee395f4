// Runs replicas and their templates as processes and tells an observer how they fare; the hands of
// the brain's Start, Stop and Kill.
//
// A replica is in the supervisor from a successful start() until on_gone, which comes exactly once
// and last. The supervisor decides nothing: when to start, stop or try again is the brain's
// business. Constructing it makes this process the reaper of its replicas' orphans and ends what a
// killed server left in run_dir and in its cgroup, so the caller holds the data folder's lock by
// then and has started no child. Destroying it kills every replica and calls nobody.
//
// Thread: the server loop's, which lives as long as the server (replicas die with the thread that
// started them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/time_types.h"
#include "control/effects.h"
#include "control/events.h"
#include "control/platform.h"
#include "domain/ids.h"
#include "domain/limits.h"
#include "runtime/state_orders.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::runtime {

struct SupervisorOptions {
  std::string worker_path;
  std::string
      run_dir;  // private, made with mode 0700; replicas' sockets live here, so keep it short
  std::string server_url;     // {url} of process functions
  std::string templates_dir;  // shipped chat templates, NAME.jinja
  Duration load_stall_timeout = domain::kLoadStallTimeout;
  Duration stop_grace = domain::kStopGrace;
  Duration fork_limit = domain::kForkLimit;
  int standby = 0;      // workers started ahead: standby_pool.h
  bool cgroups = true;  // a leaf of its own for each process, as far as the machine lets us
};

// What the machine's cgroups give: said once, not with every process.
struct CgroupReport {
  std::string layers;  // "memory,cpu,pids (v1)", or "none"
  std::vector<std::string> refused;
};

// Called on the loop, never from inside a call of the supervisor; may call the supervisor.
class ReplicaObserver {
 public:
  virtual ~ReplicaObserver() = default;
  virtual void on_progress(domain::ProcessId process, double fraction) = 0;
  virtual void on_ready(domain::ProcessId process, const std::string& sandbox,
                        std::optional<std::uint64_t> bytes_read) = 0;
  // The line by which a measuring process says its figures; the rest of what it prints is its log.
  virtual void on_measured(domain::ProcessId process, const std::string& line);
  virtual void on_kept(domain::ProcessId process, std::vector<KeptCopy> copies) = 0;
  virtual void on_wants(domain::ProcessId process, std::uint64_t state) = 0;
  virtual void on_gone(const control::ProcessGone& end) = 0;
};

class Supervisor final {
 public:
  Supervisor(boost::asio::io_context& loop, SupervisorOptions options, ReplicaObserver& observer);
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  void set_server_url(
      std::string url);  // {url} of later starts, for a port known only once it is bound

  Result<void> start(
      const control::StartProcess& start);  // on an error nothing runs and on_gone is not called
  void stop(domain::ProcessId process);  // SIGTERM, SIGKILL after stop_grace; unknown ids: nothing
  void kill(domain::ProcessId process);
  void kill_all();
  // Of prompt states; unknown ids: nothing.
  void remember(domain::ProcessId process, std::span<const RememberedPrompt> prompts);
  void keep(domain::ProcessId process);
  void give(domain::ProcessId process, std::uint64_t id, UniqueFd state);
  // Unknown ids: nothing. On an error it computes on with the threads that it has.
  Result<void> set_threads(const control::SetThreads& set);
  // It and what it started stand still, or go on; unknown ids: nothing.
  void freeze(domain::ProcessId process, bool frozen);
  void assign(const control::AssignReplica& assign);  // its later lines are that function's

  std::optional<control::Endpoint> endpoint(domain::ProcessId process) const;
  std::optional<pid_t> pid(domain::ProcessId process) const;
  std::vector<std::string> logs(
      const std::string& function) const;  // oldest first, "replica 3 | …", "template 2 | …"
  std::size_t running() const;
  CgroupReport cgroups() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace glowplug::runtime
