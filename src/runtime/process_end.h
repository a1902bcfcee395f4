// What is told of a process that has ended: the cause in words, whether it was our doing, and the
// reason that it is counted under.
//
// Thread: values and pure functions.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>

#include "control/events.h"
#include "domain/exit_reason.h"
#include "runtime/reaping.h"

namespace glowplug::runtime {

struct ProcessEnd {
  std::string cause;  // in words
  control::Ending ending = control::Ending::Asked;
  domain::ExitReason reason = domain::ExitReason::Stopped;
  std::optional<std::uint64_t> most_bytes = {};  // ever charged to its leaf; none = not known
};

// What is known of it before its exit is seen.
struct EndFacts {
  std::string asked;  // why we end it; empty while nobody does
  domain::ExitReason asked_as = domain::ExitReason::Stopped;
  bool kill_sent = false;
  std::string failed;  // the worker's own words
  std::string last_line;

  // The first one counts; a stop that is not obeyed in time is overdue.
  void ask(const std::string& cause, domain::ExitReason reason);
};

// A SIGKILL that was not ours: the kernel's, for memory, or somebody's.
bool killed_by_others(const EndFacts& facts, const std::optional<siginfo_t>& info);

// `info`: nothing where its exit could not be read. `memory_kill`: where the kernel has killed for
// want of memory.
ProcessEnd end_of(const EndFacts& facts, const std::optional<siginfo_t>& info,
                  const std::optional<MemoryKill>& memory_kill);

}  // namespace glowplug::runtime
