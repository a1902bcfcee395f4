#include "runtime/process_end.h"

#include "runtime/reaping.h"

namespace glowplug::runtime {
namespace {

using domain::ExitReason;

ExitReason reason_of_signal(int signal) {
  switch (signal) {
    case SIGKILL:
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
    case SIGQUIT: return ExitReason::Killed;
    case SIGSYS: return ExitReason::Sandbox;
    default: return ExitReason::Crashed;
  }
}

// Of one that did not end as it was asked to.
ExitReason own_reason(const EndFacts& facts, const siginfo_t& info) {
  if (!facts.failed.empty()) return ExitReason::LoadFailed;
  if (info.si_code != CLD_EXITED) return reason_of_signal(info.si_status);
  return info.si_status == 0 ? ExitReason::Exited : ExitReason::ExitError;
}

}  // namespace

void EndFacts::ask(const std::string& cause, ExitReason reason) {
  if (reason == ExitReason::StopOverdue) asked_as = reason;
  if (!asked.empty()) return;
  asked = cause;
  asked_as = reason;
}

bool killed_by_others(const EndFacts& facts, const std::optional<siginfo_t>& info) {
  return info && !facts.kill_sent && info->si_code == CLD_KILLED && info->si_status == SIGKILL;
}

ProcessEnd end_of(const EndFacts& facts, const std::optional<siginfo_t>& info,
                  const std::optional<MemoryKill>& memory_kill) {
  const bool own = !facts.asked.empty();
  ProcessEnd end{.cause = facts.asked,
                 .ending = info ? ending_of(*info, own) : control::Ending::Asked,
                 .reason = facts.asked_as};
  const bool itself = !own || end.ending == control::Ending::Itself;
  if (itself) end.cause = info ? describe_exit(info->si_code, info->si_status) : "ended";
  if (itself) end.reason = info ? own_reason(facts, *info) : ExitReason::Exited;
  // A broken answer may have asked for the stop before the exit was seen.
  if (killed_by_others(facts, info)) {
    end.reason = memory_kill ? ExitReason::OutOfMemory : ExitReason::Killed;
    if (memory_kill) {
      end.cause = memory_kill->cause;
      // The machine's want of memory is not its fault.
      end.ending = memory_kill->own_limit ? control::Ending::OutOfMemory : control::Ending::Killed;
    }
  }
  const bool asked = own && (end.cause == "stopped" || end.cause == "killed");
  const std::string& detail = !facts.failed.empty() ? facts.failed : facts.last_line;
  if (!asked && !detail.empty()) end.cause += ": " + detail;
  return end;
}

}  // namespace glowplug::runtime
