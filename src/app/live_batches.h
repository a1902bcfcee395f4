// Files and batches of a running server: builds them, connects them with the jobs and ticks them.
// Thread: the server loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/clock.h"
#include "base/result.h"
#include "queue/batch_service.h"
#include "queue/line_jobs.h"

namespace glowplug::app {

class LiveBatches final {
 public:
  struct Parts {
    boost::asio::io_context& loop;
    const Clock& clock;
    std::string data_dir;
    std::uint64_t files_budget = domain::kFilesBudget;
    std::size_t batch_lines = domain::kBatchLinesMax;
    storage::WriteLoop& writes;
    storage::ReadLoop& reader;
    queue::JobService& jobs;
    std::function<Time()> queue_now;
    std::function<bool(const std::string&)> model_exists;
    // In the transaction of a batch's end, and once that is on the disk.
    queue::BatchService::OnEnd on_end = {};
    std::function<void(const queue::BatchRecord&)> ended = [](const queue::BatchRecord&) {};
  };
  // After JobService::recover(), so that counts are those of its rows.
  static Result<std::unique_ptr<LiveBatches>> open(Parts parts);

  queue::FileStore& files() { return *files_; }
  queue::BatchService& batches() { return *batches_; }
  void job_ended(const storage::JobEnd& end) { lines_.job_ended(end); }

 private:
  explicit LiveBatches(Parts parts);
  void tick();

  Parts parts_;
  queue::DiskThread disk_;
  queue::LineJobs lines_;
  std::unique_ptr<queue::FileStore> files_;
  std::unique_ptr<queue::BatchService> batches_;
  boost::asio::steady_timer timer_;
};

}  // namespace glowplug::app
