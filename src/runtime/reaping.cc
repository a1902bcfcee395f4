#include "runtime/reaping.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/units.h"
#include "domain/errors.h"
#include "runtime/leftovers.h"

namespace glowplug::runtime {
namespace {

constexpr int kStrayLooks = 20;  // for one whose environment cannot be read yet

}  // namespace

bool reap_member(pid_t group) {
  siginfo_t info{};
  if (::waitid(P_PGID, static_cast<id_t>(group), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return false;
  return info.si_pid > 0 && info.si_pid != group &&
         ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG) == 0;
}

Standing standing_of(pid_t pid) {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return Standing::NotOurs;
  return info.si_pid == 0 ? Standing::Runs : Standing::Ended;
}

std::optional<siginfo_t> reap(pid_t pid) {
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) != 0)
    if (errno != EINTR) return std::nullopt;
  return info;
}

Result<UniqueFd> watch(pid_t pid) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.valid()) return pidfd;
  return end_unwatched(pid, ::strerror(errno));
}

Error end_unwatched(pid_t pid, const std::string& why) {
  ::kill(pid, SIGKILL);
  reap(pid);
  return {std::string(domain::error::kServerError), why, ""};
}

void leave_idle_class(pid_t pid) {
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
    const sched_param usual{};
    const auto thread = static_cast<pid_t>(std::atoi(task.path().filename().c_str()));
    if (::sched_getscheduler(thread) == SCHED_IDLE)
      ::sched_setscheduler(thread, SCHED_OTHER, &usual);  // else it ends later
  }
}

bool group_gone(pid_t group) {
  siginfo_t info{};
  while (true) {
    info.si_pid = 0;
    if (::waitid(P_PGID, static_cast<id_t>(group), &info, WEXITED | WNOHANG) != 0)
      return errno == ECHILD;
    if (info.si_pid == 0) return false;
  }
}

Strays::Strays(std::string folder) : folder_(std::move(folder)), looks_left_(kStrayLooks) {
  look();
}

void Strays::look() {
  const Killed killed = kill_strays(folder_);
  for (const pid_t pid : killed.strays)
    if (std::find(found_.begin(), found_.end(), pid) == found_.end()) found_.push_back(pid);
  looks_left_ = killed.all_known ? 0 : looks_left_ - 1;
}

bool Strays::gone() {
  if (looks_left_ > 0) look();
  std::erase_if(found_, [](pid_t pid) {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) != 0 ||
           info.si_pid != 0;
  });
  return found_.empty() && looks_left_ == 0;
}

std::string describe_exit(int code, int status) {
  if (code == CLD_EXITED) return fmt::format("exited with status {}", status);
  const char* name = ::sigdescr_np(status);
  return fmt::format("killed by signal {} ({}){}", status, name != nullptr ? name : "unknown",
                     status == SIGKILL ? ", possibly out of memory" : "");
}

std::string describe_memory_kill(std::optional<std::uint64_t> limit_bytes) {
  if (!limit_bytes)
    return "killed by the kernel: the machine, or the server's own limit, is out of memory";
  return fmt::format("killed by the kernel: over its memory limit of {}",
                     format_bytes(*limit_bytes));
}

std::optional<MemoryKill> memory_kill_in(const Leaf& leaf) {
  if (leaf.oom_kills().value_or(0) == 0) return std::nullopt;
  const bool own = leaf.met_memory_limit();
  return MemoryKill{describe_memory_kill(own ? leaf.in_force().memory_bytes : std::nullopt), own};
}

control::Ending ending_of(const siginfo_t& info, bool asked) {
  const bool killed = info.si_code == CLD_KILLED && info.si_status == SIGKILL;
  if (!asked) return killed ? control::Ending::Killed : control::Ending::Itself;
  const bool obeyed = killed || (info.si_code == CLD_EXITED && info.si_status == 0) ||
                      (info.si_code == CLD_KILLED && info.si_status == SIGTERM);
  return obeyed ? control::Ending::Asked : control::Ending::Itself;
}

}  // namespace glowplug::runtime
