// The inside of a ReplicaProcess, which the handlers that wait on the loop keep alive until it has
// heard the last of its process: from its start to its end in replica_process.cc, what it prints
// and says in replica_channel.cc. Nobody else includes this.
//
// Thread: the server loop's.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <sys/types.h>

#include "base/unique_fd.h"
#include "runtime/control_line.h"
#include "runtime/log_ring.h"
#include "runtime/readiness_probe.h"
#include "runtime/reaping.h"
#include "runtime/replica_process.h"

namespace glowplug::runtime {

class ReplicaProcess::State final : public std::enable_shared_from_this<State> {
 public:
  State(boost::asio::io_context& loop, domain::ProcessId process, LaunchPlan plan,
        std::optional<Leaf> leaf, ReplicaTimes times, ReplicaListener& listener, SpawnedChild child)
      : loop_(loop),
        process_(process),
        plan_(std::move(plan)),
        leaf_(std::move(leaf)),
        times_(times),
        states_(plan_.slots),
        listener_(&listener),
        pid_(child.pid),
        pidfd_(loop),
        output_(loop, child.output.release()),
        control_(loop),
        lifeline_(std::move(child.lifeline)),
        load_timer_(loop),
        end_timer_(loop) {
    if (child.pidfd.valid()) pidfd_.assign(child.pidfd.release());
    if (child.control.valid()) control_.assign(child.control.release());
  }

  void begin();
  void begin_unborn(std::weak_ptr<State> from);
  void stop();
  void kill(const std::string& cause, domain::ExitReason reason);
  void abandon();  // ends everything now, without a word to the listener

  StateOrders& states() { return states_; }
  const control::Endpoint& endpoint() const { return plan_.endpoint; }
  pid_t pid() const { return reaped_ ? -1 : pid_; }  // a number that was reaped may be another's
  int control() { return control_.native_handle(); }

 private:
  using Code = boost::system::error_code;
  using Descriptor = boost::asio::posix::stream_descriptor;
  using ExitReason = domain::ExitReason;
  static constexpr std::size_t kLogLineBytesMax = 4096;

  // Made before anybody waits for it.
  bool is_ahead() const { return plan_.warm || !plan_.primes.empty() || plan_.prime; }
  void watch_exit();
  void watch_load(Duration limit, const std::string& cause, ExitReason reason);
  void watch_progress();
  void became_ready(const WorkerReady& said);
  void hurry();
  void terminate();
  void kill_after(Duration grace, const std::string& cause, ExitReason reason);
  void exited();
  void linger(int looks);
  void finish();
  void close();

  // Of one that was ordered from a template.
  void born(pid_t pid);
  void control_closed();
  void await_unborn(int looks);
  void never_born(const std::string& cause, ExitReason reason = ExitReason::ServerFault);
  void finish_unborn();

  // replica_channel.cc
  void read_output();
  void take_output(std::size_t size);
  void print(std::string_view line, LineEnd end);
  void read_control();
  void take_control(std::size_t size);
  void break_control(const std::string& why);
  void obey(const ControlMessage& message);
  void took_copies(const WorkerKept& said);
  void drain();

  boost::asio::io_context& loop_;
  domain::ProcessId process_;
  LaunchPlan plan_;
  std::optional<Leaf> leaf_;  // until it is gone
  ReplicaTimes times_;
  StateOrders states_;
  ReplicaListener* listener_;      // null once it has heard the last
  pid_t pid_;                      // -1 while unborn
  std::weak_ptr<State> template_;  // of an unborn one
  Descriptor pidfd_, output_, control_;
  UniqueFd lifeline_;
  boost::asio::steady_timer load_timer_, end_timer_;
  std::optional<ReadinessProbe> probe_;
  std::array<char, 8192> output_bytes_;  // never the loop's: drain() would miss what that has read
  std::array<char, kControlLineBytesMax> control_bytes_;
  LineSplitter output_lines_{kLogLineBytesMax};
  LineSplitter control_lines_{kControlLineBytesMax};
  Strays strays_;
  EndFacts facts_;
  ProcessEnd end_;
  double progress_ = -1;
  bool ready_ = false, stopping_ = false, control_broken_ = false, reaping_ = false,
       reaped_ = false, terminated_ = false;
};

}  // namespace glowplug::runtime
