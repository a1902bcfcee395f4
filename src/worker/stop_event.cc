#include "worker/stop_event.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <poll.h>

namespace glowplug::worker {
namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

bool wait_until(int socket, const StopEvent& stop, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    const auto left = std::max(Clock::duration::zero(), deadline - Clock::now());
    const bool forever = deadline == Clock::time_point::max();
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    const timespec timeout{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    pollfd watched[2] = {{stop.fd(), POLLIN, 0}, {socket, POLLRDHUP, 0}};
    const int ready = ::ppoll(watched, 2, forever ? nullptr : &timeout, nullptr);
    if (ready > 0) return false;
    if (ready == 0) return true;
    if (errno != EINTR) return false;
  }
}

}  // namespace glowplug::worker
