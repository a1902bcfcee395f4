// Everything of a live server that is accepted now and done later: jobs, batches, webhooks; and the
// usage row that each job's end gets.
//
//   gateway ──▶ LiveJobs ──end, in its transaction──▶ usage row, webhook deliveries
//                  ▲  └──end, once it is on the disk──▶ LiveBatches (its lines), LiveWebhooks
//                  (poke) └── LiveBatches: lines as jobs
//
// Decides nothing. Thread: the server loop; what it is given outlives it.
#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "app/live_batches.h"
#include "app/live_jobs.h"
#include "app/live_webhooks.h"
#include "gateway/gateway.h"

namespace glowplug::app {

class LiveQueue final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    const Clock& clock;
    storage::WriteLoop& writer;
    control::Platform& platform;
    gateway::Gateway& gateway;
    std::string data_dir;
    models::TargetRule webhook_rule;
    std::uint64_t files_budget = domain::kFilesBudget;
    std::size_t batch_lines = domain::kBatchLinesMax;
  };
  // The gateway serves its routes from now on.
  static Result<std::unique_ptr<LiveQueue>> open(const Parts& parts);

  // Once the functions are known and before the loop runs: takes up what an earlier server left.
  Result<void> recover();
  queue::JobService& jobs() { return jobs_->service(); }

 private:
  explicit LiveQueue(const Parts& parts) : parts_(parts) {}
  void ended(const storage::JobEnd& end);

  Parts parts_;
  std::unique_ptr<LiveJobs> jobs_;
  std::unique_ptr<LiveWebhooks> webhooks_;
  std::unique_ptr<LiveBatches> batches_;
};

}  // namespace glowplug::app
