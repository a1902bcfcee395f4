#include "gateway/job_outcome.h"

#include "domain/errors.h"

namespace glowplug::gateway {
namespace {

namespace error = domain::error;
using control::AttemptOutcome;

constexpr int kTooMany = 429;       // an engine's own queue is full
constexpr int kServerErrors = 500;  // HTTP statuses below are the request's fault

AttemptOutcome by_status(int status) {
  return status < kServerErrors ? AttemptOutcome::Invalid : AttemptOutcome::FunctionFailed;
}

// Nothing has run. replica_failed: too much is tried again already; insufficient_quota: the budget
// of the day is spent, and the job waits for the next one if its ttl lets it.
AttemptOutcome of_refusal(const CallFault& fault, Standing standing) {
  if (fault.code == error::kShuttingDown) return AttemptOutcome::HandedBack;
  for (const std::string_view full : {error::kQueueFull, error::kServerIsOverloaded,
                                      error::kReplicaFailed, error::kInsufficientQuota})
    if (fault.code == full) return AttemptOutcome::NoCapacity;
  if (fault.code == error::kFunctionFailed && standing == Standing::Quarantined)
    return AttemptOutcome::NoCapacity;
  return by_status(fault.status);
}

}  // namespace

bool is_blamed(const CallFault& fault) { return fault.code == error::kPoisonousRequest; }

AttemptOutcome outcome_of(const CallFault& fault, Granted granted, Standing standing) {
  if (granted == Granted::No) return of_refusal(fault, standing);
  if (is_blamed(fault)) return AttemptOutcome::Crashed;
  if (fault.replica_broke)
    return standing == Standing::Leaving ? AttemptOutcome::HandedBack : AttemptOutcome::Crashed;
  if (fault.code == error::kDeadlineExceeded) return AttemptOutcome::TimedOut;
  if (fault.status == kTooMany) return AttemptOutcome::NoCapacity;
  return by_status(fault.status);
}

}  // namespace glowplug::gateway
