// Who computes on how many cores: the ledger of cores. A replica gets its threads when it starts,
// and others when its neighbours come and go while it works.
//
// What the owners of working replicas asked for is theirs; the others share what is left in equal
// parts. A replica on an accelerator computes there and takes one core of the machine. Whoever asks
// for a number gets it, up to all cores: it may then be slower than expected, and says so itself.
//
// Thread: pure functions.
#pragma once

#include <vector>

namespace glowplug::policy {

struct CoreShare {
  int cores_total = 1;        // by affinity and quota, rounded down
  int replicas_busy = 0;      // others with work under way, that share
  int cores_declared = 0;     // of others with work under way, that asked for their number
  int threads_requested = 0;  // 0 = auto
};

// Threads for a replica that starts, at least one.
int grant_threads(const CoreShare& share);

// Counts one more neighbour with work under way.
enum class Computes { HereShared, HereAsDeclared, Elsewhere };
void add_neighbour(CoreShare& share, Computes where, int threads);

// Batch work yields to any other: it has what that leaves. Beside: it has had to for long enough.
enum class Claim { First, Beside, Yields };

// A replica with work under way.
struct CoreUser {
  Computes where = Computes::HereShared;
  int threads = 0;  // as declared, where they are
  Claim claim = Claim::First;
};

// The threads of each of these together, in their order, at least one each; 0 = what yields finds
// no core left and stands still. Those that share have no more than there are, unless there are
// more of them than cores left.
std::vector<int> share_cores(int cores_total, const std::vector<CoreUser>& working);

}  // namespace glowplug::policy
