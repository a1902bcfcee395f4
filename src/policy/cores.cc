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

std::vector<int> share_cores(int cores_total, const std::vector<CoreUser>& working) {
  CoreShare share{.cores_total = cores_total, .replicas_busy = -1};  // less the one that asks
  for (const CoreUser& one : working) add_neighbour(share, one.where, one.threads);
  const int each = grant_threads(share);
  std::vector<int> threads;
  threads.reserve(working.size());
  for (const CoreUser& one : working) {
    if (one.where == Computes::HereShared)
      threads.push_back(each);
    else
      threads.push_back(one.where == Computes::Elsewhere
                            ? 1
                            : std::clamp(one.threads, 1, std::max(1, cores_total)));
  }
  return threads;
}

}  // namespace glowplug::policy
