// The durable queue of a live server: its clock, its reader, its timer, and who tells it what.
//
//   storage::WriteLoop ─┐
//   gateway's runner ───┼─▶ queue::JobService ◀── gateway's routes
//   control::Platform ──┘        (how many attempts of a function may run at once)
//
// Decides nothing. Thread: the server loop.
#pragma once

#include <functional>
#include <memory>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "control/platform.h"
#include "queue/job_service.h"

namespace glowplug::app {

// Of this machine: its boot, the time since then (sleep included), and the wall clock.
queue::ClockReading read_machine_clock();

class LiveJobs final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    storage::WriteLoop& writer;
    control::Platform& platform;
    queue::JobRunner& runner;
    storage::OnSettle on_settle = {};  // what else is written with each end
    std::function<void(const storage::JobEnd&)> on_ended = {};
  };
  static Result<std::unique_ptr<LiveJobs>> open(Parts parts);
  ~LiveJobs();

  // Once the functions are known and before the loop runs.
  Result<void> recover() { return service_->recover(); }
  queue::JobService& service() { return *service_; }
  // Owners: this object, and works that the writer may carry out after it is gone.
  const std::shared_ptr<queue::QueueClock>& clock() { return clock_; }
  storage::ReadLoop& reader() { return *reader_; }

 private:
  explicit LiveJobs(boost::asio::io_context& loop) : timer_(loop) {}
  void wake_in(Duration after);

  boost::asio::steady_timer timer_;
  std::unique_ptr<storage::ReadLoop> reader_;
  std::shared_ptr<queue::QueueClock> clock_;
  std::unique_ptr<queue::JobService> service_;
};

}  // namespace glowplug::app
