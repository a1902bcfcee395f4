// Checkpoints of functions, durable: each a row with its content and a checksum over all of it.
//
// A checkpoint is added in one transaction and never changed. Every reading compares the checksum:
// a row that does not match its own is damaged, and says so instead of giving its content. The
// store understands no content; JSON goes in and out. A removed function takes its checkpoints with
// it.
//
// Thread: any but the writer's, which the caller waits for. Not here: model files, which a
// checkpoint names by digest.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "storage/write_loop.h"

namespace glowplug::storage {

struct StoredCheckpoint {
  int step = 0;
  int revision = 0;
  std::int64_t created_ms = 0;  // since 1970
  std::string content;          // empty when damaged
  std::string damage;           // why it cannot be trusted; empty when it is whole
  friend bool operator==(const StoredCheckpoint&, const StoredCheckpoint&) = default;
};

class CheckpointStore final {
 public:
  using Digest = std::function<std::string(std::string_view)>;

  CheckpointStore(WriteLoop& writer, Digest digest);  // `writer` outlives this

  // checkpoint_conflict when the step exists, damaged or not.
  Result<void> add(const std::string& name, const StoredCheckpoint& checkpoint);
  Result<std::vector<StoredCheckpoint>> list(const std::string& name);  // by step
  Result<void> remove(const std::string& name, int step);  // of one that does not exist: nothing

 private:
  Result<void> insert(Database& database, const std::string& name,
                      const StoredCheckpoint& checkpoint) const;
  Result<std::vector<StoredCheckpoint>> read(Database& database, const std::string& name) const;
  std::string checksum(const std::string& name, const StoredCheckpoint& checkpoint) const;

  WriteLoop& writer_;
  Digest digest_;
};

}  // namespace glowplug::storage
