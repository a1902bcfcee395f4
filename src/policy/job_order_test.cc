#include "policy/job_order.h"

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::JobUrgency;

TEST(JobOrder, InteractiveGoesFirst_UntilBatchHasWaitedAndBeenPassedByOften) {
  const auto none = std::optional<JobUrgency>{};
  const std::pair<WaitingJobs, std::optional<JobUrgency>> table[] = {
      {{}, none},
      {{.interactive = true}, JobUrgency::Interactive},
      {{.batch = true}, JobUrgency::Batch},
      {{.interactive = true, .batch = true}, JobUrgency::Interactive},
      {{true, true, kBatchPatience, kBatchShare - 1}, JobUrgency::Batch},
      {{true, true, kBatchPatience - 1ns, kBatchShare - 1}, JobUrgency::Interactive},
      {{true, true, kBatchPatience, kBatchShare - 2}, JobUrgency::Interactive},
      {{true, true, 100 * kBatchPatience, kBatchShare}, JobUrgency::Batch},
      {{true, false, 100 * kBatchPatience, kBatchShare}, JobUrgency::Interactive}};
  for (const auto& [waiting, next] : table)
    EXPECT_EQ(next_urgency(waiting), next)
        << waiting.interactive << waiting.batch << waiting.batch_waits.count() << " "
        << waiting.passed_by;
}

}  // namespace
}  // namespace glowplug::policy
