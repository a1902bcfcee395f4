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

bool is_crash_loop(std::span<const Time> deaths, Time now) {
  const auto recent = std::count_if(deaths.begin(), deaths.end(),
                                    [now](Time at) { return now - at <= kCrashSpan; });
  return recent >= kCrashLoop;
}

Duration quarantine_time(int in_a_row, std::uint64_t spread) {
  return failure_memory(std::clamp(in_a_row, 1, kDoublingsMax) + 1, spread);
}

Blame blame(const Suspicion& suspicion) {
  const bool shown = suspicion.deaths >= kPoisonDeaths && suspicion.alone && suspicion.answered > 0;
  return shown ? Blame::Request : Blame::Function;
}

}  // namespace glowplug::policy
