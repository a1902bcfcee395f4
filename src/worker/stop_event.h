// An event that never ends once raised; threads wait for it together with their socket.
//
// Thread: any.
#pragma once

#include <chrono>

#include <sys/eventfd.h>

#include "base/unique_fd.h"

namespace glowplug::worker {

class StopEvent final {
 public:
  StopEvent() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  void raise() { ::eventfd_write(fd_.get(), 1); }
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

// Waits until the deadline. False as soon as the peer hangs up or the event is raised; socket < 0
// watches no peer.
[[nodiscard]] bool wait_until(int socket, const StopEvent& stop,
                              std::chrono::steady_clock::time_point deadline);

}  // namespace glowplug::worker
