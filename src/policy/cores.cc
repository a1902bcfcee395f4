#include "policy/cores.h"

#include <algorithm>

namespace glowplug::policy {

int grant_threads(const CoreShare& share) {
  const int total = std::max(1, share.cores_total);
  if (share.threads_requested > 0) return std::min(share.threads_requested, total);
  const int left = total - std::clamp(share.cores_declared, 0, total);
  return std::max(1, left / (1 + std::max(0, share.replicas_busy)));
}

void add_neighbour(CoreShare& share, Computes where, int threads) {
  if (where == Computes::HereShared)
    ++share.replicas_busy;
  else
    share.cores_declared += where == Computes::Elsewhere ? 1 : threads;
}

}  // namespace glowplug::policy
