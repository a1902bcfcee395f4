// Which model files leave a full cache: those whose loss costs least for each byte that it frees.
//
// A file's value is the floor that stood when it was last used, plus its uses × the seconds that
// fetching it again would take ÷ its size. What is evicted raises the floor to its own value, so
// that files that were used often long ago fall behind those used lately (greedy dual, with size
// and frequency). Use counts outlive the file: one that comes back has its history.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace glowplug::policy {

struct BlobUse {
  std::string sha256;
  std::uint64_t bytes = 0;
  std::uint64_t uses = 0;
  double floor = 0;  // when it was last used
  std::int64_t last_used_ms = 0;
};

double blob_value(const BlobUse& blob);

struct BlobEviction {
  std::vector<std::string> blobs;  // least value first
  std::uint64_t bytes = 0;         // that they free
  double floor = 0;                // from now on
};

// What to remove so that `needed_bytes` become free; nullopt when all of it is not enough (then
// nothing is removed for nothing). `evictable` holds neither pinned files nor such as are in use.
std::optional<BlobEviction> choose_blobs(std::span<const BlobUse> evictable,
                                         std::uint64_t needed_bytes, double floor);

}  // namespace glowplug::policy
