// The lines of batches as jobs of the durable queue: BatchJobs on JobService and its rows.
//
// Ends come by job; which batch a job belongs to is remembered here while it is not over, and read
// back with the counts after a restart.
//
// Thread: the server loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "queue/batch_jobs.h"
#include "queue/job_service.h"
#include "storage/job_store.h"
#include "storage/read_loop.h"

namespace glowplug::queue {

class LineJobs final : public BatchJobs {
 public:
  struct Parts {
    JobService& jobs;
    storage::ReadLoop& reader;
    std::function<Time()> now;  // of the queue
    // Jobs of all kinds in the queue up to which batches add further ones.
    std::size_t queued_max = domain::kJobsQueuedMax / 2;
  };
  explicit LineJobs(Parts parts) : parts_(std::move(parts)) {}

  std::size_t room() const override;
  void add(std::int64_t batch, Time expires, std::vector<Line> lines, Done<void> done) override;
  void cancel(std::int64_t batch) override;
  void count(std::int64_t batch, Done<Counts> done) override;
  void read(std::int64_t batch, std::uint64_t line, std::size_t rows_max,
            Done<std::vector<Row>> done) override;

  // To be told of every end that is on the disk; passes on those of lines.
  void job_ended(const storage::JobEnd& end);
  std::function<void(std::int64_t batch, domain::JobState state)> ended;

 private:
  Parts parts_;
  std::unordered_map<std::uint64_t, std::int64_t> batch_of_;  // by job, of those not over
};

}  // namespace glowplug::queue
