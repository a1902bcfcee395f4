// Why a process of the platform has ended, as far as its waiter can tell; the words are labels of
// metrics, so the list is closed.
//
//   wanted            Stopped, HandedOver (a spare or a worker standing by became a replica)
//   by itself         Exited (status 0), ExitError, LoadFailed (as it said), Crashed (a signal)
//   by others         Killed (a signal that was not ours), OutOfMemory (the kernel, for memory),
//                     Sandbox (it made a system call that its filter forbids)
//   killed by us      StopOverdue, StartOverdue, LoadStalled, ForkOverdue, SleepFailed, Protocol,
//                     ServerFault (it could not be watched)
//   never was         NotStarted, Unborn (its template ended or could not fork)
//
// Thread: pure values.
#pragma once

#include <array>
#include <string_view>

namespace glowplug::domain {

enum class ExitReason {
  Stopped,
  HandedOver,
  Exited,
  ExitError,
  LoadFailed,
  Crashed,
  Killed,
  OutOfMemory,
  Sandbox,
  StopOverdue,
  StartOverdue,
  LoadStalled,
  ForkOverdue,
  SleepFailed,
  Protocol,
  ServerFault,
  NotStarted,
  Unborn
};

inline constexpr std::array<std::string_view, 18> kExitReasonNames{
    "stopped",      "handed_over",   "exited",   "exit_error",   "load_failed",   "crashed",
    "killed",       "out_of_memory", "sandbox",  "stop_overdue", "start_overdue", "load_stalled",
    "fork_overdue", "sleep_failed",  "protocol", "server_fault", "not_started",   "unborn"};

constexpr std::string_view to_string(ExitReason reason) {
  return kExitReasonNames[static_cast<std::size_t>(reason)];
}

}  // namespace glowplug::domain
