// Waiting that Ctrl-C ends: for a descriptor, for a while, or for both.
//
// Interrupts takes SIGINT and SIGTERM out of normal delivery for its lifetime and makes them
// readable on a descriptor, so that no handler and no global flag is needed. Everything that blocks
// goes through wait_for.
//
// Thread: Interrupts lives on the main thread, before any other thread starts.
#pragma once

#include <signal.h>

#include "base/time_types.h"
#include "base/unique_fd.h"

namespace glowplug::cli {

class Interrupts final {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  int fd() const { return fd_.get(); }

 private:
  sigset_t before_{};
  UniqueFd fd_;
};

enum class Waited { Ready, TimedOut, Interrupted };
enum class Direction { Read, Write };

struct Wait {
  int fd = -1;  // -1: only time passes
  Direction direction = Direction::Read;
  int cancel_fd = -1;  // readable = stop waiting; -1: none
  Duration timeout{};  // Duration::max() = without end
};

[[nodiscard]] Waited wait_for(const Wait& wait);

// Takes one pending interrupt off the descriptor, so that the next wait is not ended by it again.
void take_interrupt(int cancel_fd);

}  // namespace glowplug::cli
