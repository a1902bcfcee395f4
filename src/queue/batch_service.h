// Runs batches: reads and checks the input, lets its lines become jobs a window at a time, and
// writes the answers into files when all are over. The states are drawn in batch_types.h.
//
// Nothing but the rows is needed to go on after the server was killed: the input file is held, its
// lines are jobs by (batch, line), so that none is run twice, and files are written anew from the
// jobs' rows. Each change of state is on the disk before it is told.
//
// One step of a batch is under way at a time (`busy`); what it needs runs on the disk thread, the
// writer and the reader, and its end asks what is next. A step that fails is tried again later.
//
// Thread: the server loop, callbacks too.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "domain/limits.h"
#include "queue/batch_jobs.h"
#include "queue/batch_types.h"
#include "queue/disk_thread.h"
#include "queue/file_store.h"
#include "storage/write_loop.h"

namespace glowplug::queue {

struct BatchWish {
  std::string endpoint;
  std::string input_file;
  std::string metadata = "{}";  // a JSON object
  std::optional<Duration> output_expires;
  std::string traceparent = {};  // of the call that makes it; often empty
  // In the transaction that makes it, at this time of the queue: what else is written with it.
  std::function<Result<void>(storage::Database&, const BatchRecord&, Time)> with = {};
};

class BatchService final {
 public:
  using OnEnd = std::function<Result<void>(storage::Database&, const BatchRecord&)>;
  struct Parts {
    FileStore& files;
    storage::WriteLoop& writes;
    DiskThread& disk;
    BatchJobs& jobs;
    const Clock& clock;
    std::function<Time()> queue_now;  // the clock that `expires` is of
    std::function<bool(const std::string&)> model_exists;
    OnEnd on_end = {};  // in the transaction of a batch's end: what else is written with it
    // Once that is on the disk.
    std::function<void(const BatchRecord&)> ended = [](const BatchRecord&) {};
    std::size_t lines_max = domain::kBatchLinesMax;
    std::size_t lines_queued = domain::kBatchLinesQueued;
  };
  using Record = std::function<void(Result<BatchRecord>)>;

  // Reads the rows, and goes on with what an earlier server has left.
  static Result<std::unique_ptr<BatchService>> open(Parts parts);
  ~BatchService();

  // Errors: invalid_value of input_file_id, queue_full, those of a write.
  void create(BatchWish wish, Record done);
  std::optional<BatchRecord> find(std::int64_t id) const;
  std::vector<BatchRecord> list() const;                                  // newest first
  std::array<std::size_t, kBatchStateNames.size()> count_states() const;  // of those kept
  // That came to their end since this server started, by the state.
  const std::map<BatchState, std::uint64_t>& ended() const { return ended_; }
  // Told once it is on the disk; one that ends or has ended stays as it is. Errors: not_found.
  void cancel(std::int64_t id, Record done);

  // A job of this batch is over, and that is on the disk.
  void line_ended(std::int64_t id, domain::JobState state);
  void tick(Time now);  // about once a second

 private:
  struct Batch;
  explicit BatchService(Parts parts);
  Result<void> load();
  void restore(BatchRecord record);
  void advance(Batch& batch);
  void advance_run(Batch& batch);
  void start_step(Batch& batch);
  void end_step(std::int64_t id, const Result<void>& result);

  void check_input(Batch& batch);
  void take_checked(Batch& batch, const BatchReader::Piece& piece);
  void feed(Batch& batch);
  void add_lines(Batch& batch);
  void count(Batch& batch);
  void move_to(Batch& batch, BatchRecord next);
  void fail(Batch& batch, std::vector<BatchFault> faults);
  void tell_end(Batch& batch);

  void begin_files(Batch& batch);
  void write_page(Batch& batch, std::uint64_t behind);
  void seal_files(Batch& batch);
  void conclude(Batch& batch, std::optional<FileRecord> output, std::optional<FileRecord> errors);

  void settle_waiters(Batch& batch);
  void prune();
  BatchRecord shown(const Batch& batch) const;
  Batch* find_batch(std::int64_t id);

  Parts parts_;
  std::map<std::int64_t, std::unique_ptr<Batch>> batches_;
  std::map<BatchState, std::uint64_t> ended_;
  std::int64_t next_id_ = 1;
  Time now_{};  // of the latest tick, for steps that wait
};

}  // namespace glowplug::queue
