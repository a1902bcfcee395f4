#include "cli/wait.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>

#include <sys/signalfd.h>

namespace glowplug::cli {

Interrupts::Interrupts() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &wanted, &before_);
  fd_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd_.valid()) pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

Interrupts::~Interrupts() {
  // A signal still pending here would end the process when it is unblocked, after the work was
  // done.
  if (fd_.valid()) take_interrupt(fd_.get());
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

Waited wait_for(const Wait& wait) {
  using namespace std::chrono;
  const bool endless = wait.timeout == Duration::max();
  const auto end = endless ? steady_clock::time_point::max() : steady_clock::now() + wait.timeout;
  std::array<pollfd, 2> watched{
      pollfd{wait.fd, static_cast<short>(wait.direction == Direction::Read ? POLLIN : POLLOUT), 0},
      pollfd{wait.cancel_fd, POLLIN, 0}};
  while (true) {
    int wait_ms = -1;
    if (!endless) {
      const auto left = ceil<milliseconds>(end - steady_clock::now()).count();
      wait_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
    }
    const int ready = ::poll(watched.data(), watched.size(), wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready > 0 && watched[1].revents != 0) return Waited::Interrupted;
    if (ready != 0) return Waited::Ready;  // also on a poll error: the read that follows reports it
    if (!endless && steady_clock::now() >= end) return Waited::TimedOut;
  }
}

void take_interrupt(int cancel_fd) {
  signalfd_siginfo info;
  while (cancel_fd >= 0 &&
         ::read(cancel_fd, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {}
}

}  // namespace glowplug::cli
