#include "policy/blob_value.h"

#include <algorithm>
#include <tuple>

namespace glowplug::policy {
namespace {

// What fetching takes, roughly: to reach the source, and then for each byte of an ordinary line.
constexpr double kReachSeconds = 2;
constexpr double kBytesPerSecond = 50e6;
constexpr double kGigabyte = 1e9;  // the value's unit: seconds for each of them

}  // namespace

double blob_value(const BlobUse& blob) {
  const double bytes = static_cast<double>(std::max<std::uint64_t>(blob.bytes, 1));
  const double seconds = kReachSeconds + bytes / kBytesPerSecond;
  return blob.floor + static_cast<double>(blob.uses) * seconds / (bytes / kGigabyte);
}

std::optional<BlobEviction> choose_blobs(std::span<const BlobUse> evictable,
                                         std::uint64_t needed_bytes, double floor) {
  std::vector<BlobUse> order(evictable.begin(), evictable.end());
  std::sort(order.begin(), order.end(), [](const BlobUse& a, const BlobUse& b) {
    return std::tuple(blob_value(a), a.last_used_ms, a.sha256) <
           std::tuple(blob_value(b), b.last_used_ms, b.sha256);
  });
  BlobEviction chosen{.floor = floor};
  for (const BlobUse& blob : order) {
    if (chosen.bytes >= needed_bytes) break;
    chosen.blobs.push_back(blob.sha256);
    chosen.bytes += blob.bytes;
    chosen.floor = std::max(chosen.floor, blob_value(blob));
  }
  if (chosen.bytes < needed_bytes) return std::nullopt;
  return chosen;
}

}  // namespace glowplug::policy
