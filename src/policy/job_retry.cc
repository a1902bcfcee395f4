#include "policy/job_retry.h"

#include <algorithm>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::AttemptOutcome;

// Without their quarter.
constexpr Duration kPauseFirst = 1s, kFailureMost = 240s, kCapacityMost = 24s;
constexpr Duration kRetryAfterMost = 60s;
constexpr int kDoublingsMax = 10;  // far beyond the most
constexpr std::uint64_t kParts = 256;

Duration doubled(int nth, Duration most) {
  return std::min(kPauseFirst * (1 << std::clamp(nth - 1, 0, kDoublingsMax)), most);
}

Duration with_quarter(Duration base, std::uint64_t spread) {
  return base + base / 4 * static_cast<std::int64_t>(spread % kParts) / kParts;
}

}  // namespace

bool is_used_up(const JobTries& tries) {
  return tries.attempts >= std::max(tries.attempts_max, 1) || tries.kills >= kJobKills;
}

AfterAttempt after_attempt(AttemptOutcome outcome, bool blamed, JobTries tries) {
  if (outcome == AttemptOutcome::Crashed) ++tries.kills;
  if (blamed && outcome != AttemptOutcome::Answered) {
    ++tries.attempts;
    return {AttemptVerdict::DeadLetter, tries};
  }
  switch (outcome) {
    case AttemptOutcome::NoCapacity:
    case AttemptOutcome::HandedBack: return {AttemptVerdict::Again, tries};
    case AttemptOutcome::Answered: ++tries.attempts; return {AttemptVerdict::Complete, tries};
    case AttemptOutcome::Invalid:
    case AttemptOutcome::TimedOut: ++tries.attempts; return {AttemptVerdict::Fail, tries};
    case AttemptOutcome::FunctionFailed:
    case AttemptOutcome::Crashed: ++tries.attempts; break;
  }
  return {is_used_up(tries) ? AttemptVerdict::DeadLetter : AttemptVerdict::Again, tries};
}

Duration failure_pause(int failed, std::uint64_t spread) {
  return with_quarter(doubled(failed, kFailureMost), spread);
}

Duration capacity_pause(int in_a_row, std::optional<Duration> retry_after, std::uint64_t spread) {
  const Duration base = retry_after ? std::clamp<Duration>(*retry_after, 1s, kRetryAfterMost)
                                    : doubled(in_a_row, kCapacityMost);
  return with_quarter(base, spread);
}

}  // namespace glowplug::policy
