// Waits for children that have ended, without ever blocking but where it says so: whole groups,
// strays of a replica, and what a template left unborn.
//
// Thread: the server loop's; the children are the calling process's.
#pragma once

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/events.h"
#include "runtime/leaf_cgroup.h"

namespace glowplug::runtime {

// Of a child, which is not reaped.
enum class Standing { Runs, Ended, NotOurs };
Standing standing_of(pid_t pid);

// Reaps this one; blocks, so for one that was killed. Nothing: it was no child of ours.
std::optional<siginfo_t> reap(pid_t pid);

// A descriptor that becomes readable when this child ends. Where there is none it is killed and
// reaped: nobody would hear of its end.
Result<UniqueFd> watch(pid_t pid);
Error end_unwatched(pid_t pid, const std::string& why);  // which is what it returns

// From the class that computes only where nobody else does, all its threads: also to end takes
// time.
void leave_idle_class(pid_t pid);

// Reaps what has ended of the group; true when none of it is a child of ours any more.
bool group_gone(pid_t group);

// What left a replica's group, killed as it is found.
class Strays final {
 public:
  Strays() = default;  // of a replica that has none
  explicit Strays(std::string folder);
  // Reaps those that have ended; true when that is all. Until then it is to be asked again, some
  // milliseconds later.
  bool gone();

 private:
  void look();

  std::string folder_;
  int looks_left_ = 0;
  std::vector<pid_t> found_;
};

// Reaps one that has ended of a template's group, but never the template itself. True when one was.
bool reap_member(pid_t group);

// "exited with status 3", "killed by signal 9 (Killed), possibly out of memory"; code and status as
// in siginfo_t.
std::string describe_exit(int code, int status);

// "killed by the kernel: over its memory limit of 1.2 GB"; without a limit, the want was above it.
std::string describe_memory_kill(std::optional<std::uint64_t> limit_bytes);

// When the kernel has killed in the leaf for want of memory.
struct MemoryKill {
  std::string cause;
  bool own_limit = false;  // it was the leaf's, and not that of all, or of the machine
};
std::optional<MemoryKill> memory_kill_in(const Leaf& leaf);

// `asked`: we had told it to end.
control::Ending ending_of(const siginfo_t& info, bool asked);

}  // namespace glowplug::runtime
