#include "policy/retry.h"

#include <algorithm>

#include "domain/limits.h"

namespace glowplug::policy {
namespace {

constexpr int kDoublingsMax = 10;  // far beyond the most
constexpr std::uint64_t kParts = 256;

}  // namespace

Duration failure_memory(int in_a_row, std::uint64_t spread) {
  const int doublings = std::clamp(in_a_row - 1, 0, kDoublingsMax);
  if (doublings == 0) return domain::kFailureRemembered;
  const Duration base = std::min(domain::kFailureRemembered * (1 << doublings), kFailureMost);
  return base + base / 4 * static_cast<std::int64_t>(spread % kParts) / kParts;
}

}  // namespace glowplug::policy
