#include "policy/job_order.h"

namespace glowplug::policy {

using domain::JobUrgency;

std::optional<JobUrgency> next_urgency(const WaitingJobs& waiting) {
  if (!waiting.batch)
    return waiting.interactive ? std::optional(JobUrgency::Interactive) : std::nullopt;
  if (!waiting.interactive) return JobUrgency::Batch;
  const bool due = waiting.batch_waits >= kBatchPatience && waiting.passed_by >= kBatchShare - 1;
  return due ? JobUrgency::Batch : JobUrgency::Interactive;
}

}  // namespace glowplug::policy
