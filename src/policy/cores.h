// Who computes on how many cores: the ledger of cores. A replica gets its threads when it starts.
//
// What the owners of working replicas asked for is theirs; the others share what is left in equal
// parts. A replica on an accelerator computes there and takes one core of the machine. Whoever asks
// for a number gets it, up to all cores: it may then be slower than expected, and says so itself.
//
// Thread: pure functions.
#pragma once

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

}  // namespace glowplug::policy
