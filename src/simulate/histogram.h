// How durations are distributed, in little memory: buckets a thirty-second of a power of two wide,
// so that a percentile is off by 2 % at most. Alike on every machine. Thread: one owner.
#pragma once

#include <cstdint>
#include <vector>

#include "base/time_types.h"

namespace glowplug::simulate {

class Histogram final {
 public:
  void add(Duration value);  // below zero counts as zero
  std::uint64_t count() const { return count_; }
  Duration percentile(double share) const;  // 0 … 1; zero when empty
  Duration mean() const;
  Duration longest() const { return longest_; }
  // Each bucket that is not empty: its value, and the share of values up to it.
  struct Point {
    Duration value{};
    double up_to = 0;
  };
  std::vector<Point> curve() const;

 private:
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  double sum_ = 0;
  Duration longest_{};
};

}  // namespace glowplug::simulate
