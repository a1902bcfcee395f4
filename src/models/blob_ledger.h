// What is remembered of each model file: whether it is pinned, how often and when it was used, and
// with which mark it was verified. Kept in ledger.json beside the index.
//
// The file is read and replaced whole under the lock of the index, which the servers of one machine
// share; a crash leaves the old file or the new one. A lost ledger costs one more hashing of each
// file and the use counts, never correctness. A record outlives its file, so that one that comes
// back has its history; the number of records is bounded.
//
// Thread: any; nothing is kept in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "base/result.h"

namespace glowplug::models {

// What changes when a file changes. The times are nanoseconds since 1970; ctime_ns moves even when
// somebody sets mtime back.
struct FileMark {
  std::uint64_t bytes = 0;
  std::uint64_t inode = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  friend bool operator==(const FileMark&, const FileMark&) = default;
};

// Empty when there is no such regular file.
std::optional<FileMark> mark_of(const std::string& path);

struct BlobRecord {
  FileMark verified;  // all zero = never
  std::int64_t verified_ms = 0;
  std::int64_t last_used_ms = 0;
  std::uint64_t uses = 0;
  double floor = 0;  // policy/blob_value
  bool pinned = false;
};

struct LedgerState {
  std::map<std::string, BlobRecord> blobs;  // by SHA-256
  double floor = 0;
};

class BlobLedger final {
 public:
  static constexpr std::size_t kRecordsMax = 4096;

  explicit BlobLedger(std::string folder) : folder_(std::move(folder)) {}

  LedgerState read() const;
  // Reads, changes and replaces it. Errors: storage_failed, disk_full.
  Result<void> update(const std::function<void(LedgerState&)>& change) const;

 private:
  std::string folder_;
};

// Replaces a file whole, through "<path>.new", synced. Whoever calls holds a lock for it.
Result<void> replace_file(const std::string& path, const std::string& text);

}  // namespace glowplug::models
