// Starts one child process as a launch plan says, and hands over every descriptor that belongs to
// it.
//
// The child gets its own process group, default signals, /dev/null as input, one pipe for both
// outputs, nothing else but 3 (control) and 4 (lifeline) when it is our worker, and SIGKILL when
// the starting thread dies, and is in its leaf before it executes. It shares our memory until it
// executes, as posix_spawn does, so a large server starts it as fast as a small one.
//
// Thread: the server loop, which lives as long as the server: PR_SET_PDEATHSIG follows the thread.
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "base/unique_fd.h"
#include "runtime/launch_plan.h"
#include "runtime/leaf_cgroup.h"

namespace glowplug::runtime {

struct SpawnedChild {
  pid_t pid = -1;  // also its process group
  UniqueFd pidfd;
  UniqueFd output;    // read end, not blocking
  UniqueFd control;   // not blocking; invalid for a process engine
  UniqueFd lifeline;  // write end: closing it tells the worker to end; invalid for a process engine
};

// `leaf` may be null. A child that cannot enter it runs outside; Leaf::layers_on tells.
Result<SpawnedChild> spawn_child(const LaunchPlan& plan, const Leaf* leaf);

// The child's ends, for whoever starts it otherwise; all above the numbers that a child's own get.
struct ChildEnds {
  UniqueFd input, output, control, lifeline;  // control and lifeline as in SpawnedChild
};
Result<void> open_channels(const LaunchPlan& plan, SpawnedChild& child, ChildEnds& ends);

// A port of 127.0.0.1 that nobody listens on at this moment; another process may take it before the
// child does.
Result<int> find_free_port();

}  // namespace glowplug::runtime
