// The output and error files of a batch, written from its jobs' rows and its input, which are read
// side by side in the order of lines: the one knows the answers, the other the custom_id of each.
//
// Every line of the input ends up in one of both files: what was answered with success in the
// output, all else in the error file. It holds one page of rows and one piece of the input.
//
// Thread: the disk's; the getters when that is done.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "queue/batch_jobs.h"
#include "queue/batch_reader.h"
#include "queue/batch_types.h"
#include "queue/file_store.h"

namespace glowplug::queue {

class BatchResults final {
 public:
  // Why a line has no job, or one that did not run.
  enum class Unrun { Lost, Expired, Cancelled };

  struct Parts {
    std::int64_t batch;
    BatchReader input;
    FileStore::Draft output, errors;
    Unrun unrun = Unrun::Lost;
  };
  explicit BatchResults(Parts parts);

  // Rows in order of lines, each page behind the one before; none = the rest of the input has none.
  Result<void> take(const std::vector<BatchJobs::Row>& rows);

  std::uint64_t done() const { return done_; }
  std::uint64_t failed() const { return failed_; }
  const BatchUsage& usage() const { return usage_; }
  const FileStore::Draft& output() const { return parts_.output; }
  const FileStore::Draft& errors() const { return parts_.errors; }

 private:
  Result<bool> more_input();  // false at its end
  Result<void> write(const BatchLine& line, const BatchJobs::Row* row);
  Result<void> flush(std::size_t held_max);

  Parts parts_;
  std::deque<BatchLine> lines_;
  bool input_ended_ = false;
  std::string output_text_, error_text_;
  std::uint64_t done_ = 0, failed_ = 0;
  BatchUsage usage_;
};

}  // namespace glowplug::queue
