// One replica's process from its start to its last trace: pipes, readiness, signals, exit, folder.
//
//   start ─▶ loading ─▶ ready ─▶ exited ─▶ (group killed and reaped) ─▶ gone
//               └── failed, stalled, too late: killed ──▲
//
// Thread: the server loop's. Destroying it kills the process group, waits for its leader and
// removes the folder, and then the listener hears nothing more. The listener may destroy it from
// gone().
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/result.h"
#include "base/time_types.h"
#include "control/platform.h"
#include "domain/ids.h"
#include "runtime/launch_plan.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::runtime {

struct ReplicaTimes {
  Duration load_stall_timeout{};
  Duration stop_grace{};
};

class ReplicaListener {
 public:
  virtual ~ReplicaListener() = default;
  virtual void progress(domain::ReplicaId replica, double fraction) = 0;
  virtual void ready(domain::ReplicaId replica) = 0;
  virtual void printed(domain::ReplicaId replica, std::string_view line) = 0;
  virtual void gone(domain::ReplicaId replica, const std::string& cause) = 0;  // last, once
};

class ReplicaProcess final {
 public:
  static Result<std::unique_ptr<ReplicaProcess>> start(boost::asio::io_context& loop,
                                                       domain::ReplicaId replica, LaunchPlan plan,
                                                       ReplicaTimes times,
                                                       ReplicaListener& listener);
  ~ReplicaProcess();
  ReplicaProcess(const ReplicaProcess&) = delete;
  ReplicaProcess& operator=(const ReplicaProcess&) = delete;

  void stop();
  void kill();
  const control::Endpoint& endpoint() const;
  pid_t pid() const;

 private:
  class State;
  explicit ReplicaProcess(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;  // owners: this object and the handlers waiting on the loop
};

// "exited with status 3", "killed by signal 9 (Killed), possibly out of memory"; code and status as
// in siginfo_t.
std::string describe_exit(int code, int status);

}  // namespace glowplug::runtime
