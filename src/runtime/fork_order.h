// Asks a template to fork a replica: one message on its control channel, with the replica's own
// control channel, lifeline and output pipe attached (worker/template_loop.h is the other end).
//
// What follows the three is the replica's leaf cgroup, and the order names it: `"leaf":"directory"`
// with one descriptor, for CLONE_INTO_CGROUP, or `"leaf":"entries"` with up to three, each to be
// written "0" by the child.
//
// The replica reports its process number on its own channel; until then nobody has it. A closed
// channel before that word means that there is no replica and will be none.
//
// Thread: any; never blocks, a template whose channel is full is an Error.
#pragma once

#include "base/result.h"
#include "runtime/child_spawn.h"
#include "runtime/launch_plan.h"

namespace glowplug::runtime {

// The replica's channels, still without pid and pidfd. `leaf` may be null.
Result<SpawnedChild> order_fork(int template_control, const LaunchPlan& plan, const Leaf* leaf);

}  // namespace glowplug::runtime
