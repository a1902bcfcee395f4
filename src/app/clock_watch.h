// Notices that the wall clock was set, within seconds. Schedules go by it, and where nobody calls
// there is no event at which the brain would see it.
//
// Thread: the server loop.
#pragma once

#include <functional>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"

namespace glowplug::app {

class ClockWatch final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    const Clock& clock;
    std::function<void()> was_set;  // by a second or more, in either direction
    Duration look_every = std::chrono::seconds(5);
  };
  explicit ClockWatch(Parts parts);
  ClockWatch(const ClockWatch&) = delete;
  ClockWatch& operator=(const ClockWatch&) = delete;

 private:
  void look_again();
  Duration ahead() const;  // of the monotonic clock, by its arbitrary start

  Parts parts_;
  Duration ahead_;
  boost::asio::steady_timer timer_;
};

}  // namespace glowplug::app
