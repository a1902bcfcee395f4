// What processes of each kind were seen to hold, durable: so that a restarted server need not learn
// it again.
//
// Rows are of one engine build: another may take more, and starts from the estimates. The store
// understands no kind; keys go in and out.
//
// Thread: any but the writer's. Nobody waits for set().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/write_loop.h"

namespace glowplug::storage {

struct LearnedRow {
  std::string key;
  std::uint64_t first_bytes = 0, peak_bytes = 0;
  friend bool operator==(const LearnedRow&, const LearnedRow&) = default;
};

class LearnedMemory final {
 public:
  LearnedMemory(WriteLoop& writer, std::string engine);  // `writer` outlives this

  void set(LearnedRow row, WriteLoop::Done done);  // `done` where the writer delivers
  Result<std::vector<LearnedRow>> load();  // by key; forgets what other engine builds have left

 private:
  WriteLoop& writer_;
  std::string engine_;
};

}  // namespace glowplug::storage
