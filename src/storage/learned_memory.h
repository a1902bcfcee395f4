// What processes of each kind were seen to hold, durable: so that a restarted server need not learn
// it again.
//
// Rows are of one engine build: another may take more, and starts from the estimates. The store
// understands no kind; keys go in and out.
//
// Thread: the server loop's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/function_store.h"

namespace glowplug::storage {

struct LearnedRow {
  std::string key;
  std::uint64_t first_bytes = 0, peak_bytes = 0;
  friend bool operator==(const LearnedRow&, const LearnedRow&) = default;
};

class LearnedMemory final {
 public:
  // `functions` outlives this.
  LearnedMemory(FunctionStore& functions, std::string engine);

  Result<void> set(const LearnedRow& row);
  Result<std::vector<LearnedRow>> load();  // by key; forgets what other engine builds have left

 private:
  Database& database_;
  std::string engine_;
};

}  // namespace glowplug::storage
