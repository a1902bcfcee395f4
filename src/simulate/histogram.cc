#include "simulate/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace glowplug::simulate {
namespace {

constexpr int kBits = 5;  // of a value below its highest one
constexpr std::uint64_t kParts = std::uint64_t{1} << kBits;

std::size_t bucket_of(std::uint64_t value) {
  if (value < kParts) return value;
  const int shift = std::bit_width(value) - 1 - kBits;
  return static_cast<std::size_t>(shift + 1) * kParts + ((value >> shift) - kParts);
}

// The middle of a bucket.
std::uint64_t value_of(std::size_t bucket) {
  if (bucket < kParts) return bucket;
  const auto shift = static_cast<int>(bucket / kParts) - 1;
  const std::uint64_t low = (kParts + bucket % kParts) << shift;
  return low + (std::uint64_t{1} << shift) / 2;
}

}  // namespace

void Histogram::add(Duration value) {
  const auto counted = static_cast<std::uint64_t>(std::max<std::int64_t>(0, value.count()));
  const std::size_t bucket = bucket_of(counted);
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
  ++buckets_[bucket];
  ++count_;
  sum_ += static_cast<double>(counted);
  longest_ = std::max(longest_, Duration(static_cast<std::int64_t>(counted)));
}

Duration Histogram::percentile(double share) const {
  if (count_ == 0) return {};
  const auto wanted =
      static_cast<std::uint64_t>(std::max(1.0, std::ceil(share * static_cast<double>(count_))));
  if (wanted >= count_) return longest_;
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    seen += buckets_[bucket];
    if (seen >= wanted)
      return std::min(longest_, Duration(static_cast<std::int64_t>(value_of(bucket))));
  }
  return longest_;
}

Duration Histogram::mean() const {
  if (count_ == 0) return {};
  return Duration(static_cast<std::int64_t>(sum_ / static_cast<double>(count_)));
}

std::vector<Histogram::Point> Histogram::curve() const {
  std::vector<Point> points;
  std::uint64_t seen = 0;
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    if (buckets_[bucket] == 0) continue;
    seen += buckets_[bucket];
    points.push_back({Duration(static_cast<std::int64_t>(value_of(bucket))),
                      static_cast<double>(seen) / static_cast<double>(count_)});
  }
  return points;
}

}  // namespace glowplug::simulate
