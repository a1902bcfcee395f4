#include "app/clock_watch.h"

#include <utility>

namespace glowplug::app {
namespace {

constexpr Duration kStep = std::chrono::seconds(1);  // what is less is slewing

}  // namespace

ClockWatch::ClockWatch(Parts parts)
    : parts_(std::move(parts)), ahead_(ahead()), timer_(parts_.loop) {
  look_again();
}

Duration ClockWatch::ahead() const {
  return parts_.clock.wall_now().time_since_epoch() - parts_.clock.now().time_since_epoch();
}

void ClockWatch::look_again() {
  timer_.expires_after(parts_.look_every);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    const Duration before = std::exchange(ahead_, ahead());
    if (std::chrono::abs(ahead_ - before) >= kStep) parts_.was_set();
    look_again();
  });
}

}  // namespace glowplug::app
