// Measures what replicas, spares and templates hold, on a thread of its own, and tells the brain:
//
//   ready, answered, gone ─▶ policy::MeasureSchedule ─▶ thread: runtime::measure_memory
//   post(MemoryMeasured) ◀───────── loop ◀──────────────┘
//
// Status pages get the last value, at most some seconds old, and asking for it brings the next one
// forward; what was never measured is measured for them at once.
//
// Thread: the server loop; a second one walks the pages.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/clock.h"
#include "control/events.h"
#include "policy/measure_schedule.h"
#include "runtime/memory_probe.h"

namespace glowplug::app {

class MemoryWatch final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    const Clock& clock;
    std::function<std::optional<pid_t>(domain::ProcessId)> pid_of;
    std::function<std::optional<runtime::MemoryUse>(pid_t)> measure;  // runs on the thread
    std::function<void(const control::MemoryMeasured&)> measured;
  };
  explicit MemoryWatch(Parts parts);
  ~MemoryWatch() { thread_.join(); }
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  void ready(domain::ProcessId process);
  void answered(domain::ProcessId process);
  void gone(domain::ProcessId process);
  std::uint64_t bytes_of(domain::ProcessId process);  // proportional; 0 = not known

 private:
  struct Last {
    runtime::MemoryUse use;
    Time at{};
  };
  void look();
  void set_timer();
  void take(domain::ProcessId process, const std::optional<runtime::MemoryUse>& use);

  Parts parts_;
  policy::MeasureSchedule schedule_;
  std::map<domain::ProcessId, Last> last_;
  boost::asio::steady_timer timer_;
  std::optional<Time> timer_at_;
  boost::asio::thread_pool thread_{1};  // last: joined before the rest goes away
};

}  // namespace glowplug::app
