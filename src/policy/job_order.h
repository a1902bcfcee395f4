// Whose turn it is among the jobs of one function that wait: interactive ones, unless batch jobs
// have waited for kBatchPatience without a gap; from then on each kBatchShare-th start is theirs.
// So a batch job with n older ones before it waits for kBatchPatience and (n + 1) × kBatchShare
// starts at most, and an interactive one loses one start in kBatchShare.
//
// Thread: pure functions.
#pragma once

#include <optional>

#include "base/time_types.h"
#include "domain/job.h"

namespace glowplug::policy {

inline constexpr Duration kBatchPatience = std::chrono::seconds(60);
inline constexpr int kBatchShare = 8;

struct WaitingJobs {
  bool interactive = false, batch = false;  // whether there are any
  Duration batch_waits{};                   // since there are batch jobs without a gap
  int passed_by = 0;                        // starts of others since they wait, or since their last
};
std::optional<domain::JobUrgency> next_urgency(const WaitingJobs& waiting);

}  // namespace glowplug::policy
