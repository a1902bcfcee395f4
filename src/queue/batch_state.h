// What the service knows of a batch while it runs. Private to batch_service.cc and batch_files.cc.
// Thread: the server loop; `reader` and `results` on the disk thread while a step has them.
#pragma once

#include <memory>
#include <vector>

#include "queue/batch_results.h"
#include "queue/batch_service.h"

namespace glowplug::queue {

struct BatchService::Batch {
  BatchRecord record;
  FileStore::Hold input;
  bool busy = false;
  std::optional<Time> retry_at;  // a step has failed; the next one waits
  // Checking and feeding. Owners of the reader: this, and work on the disk thread.
  std::shared_ptr<BatchReader> reader;
  std::unique_ptr<BatchCheck> check;
  std::vector<BatchJobs::Line> waiting;  // read, not yet jobs
  bool read_to_end = false;
  // Jobs of it.
  bool counted = false;  // since this server has it
  std::uint64_t jobs = 0, over = 0;
  std::uint64_t last_line = 0;  // that is a job
  bool cancel_wanted = false, cancel_sent = false;
  std::vector<BatchService::Record> waiters;  // for cancel
  std::optional<Time> recount_at;
  // Writing files. Owners: this, and work on the disk thread.
  std::shared_ptr<BatchResults> results;

  bool drained() const { return counted && waiting.empty() && over >= jobs; }
};

}  // namespace glowplug::queue
