// Something that flows at a rate, split evenly over whoever is there, by weight: a device's time
// over the calls in flight on it, a process's memory over the calls that it answers.
//
//   a holder's part = Σ over the moments it is there of  rate × its weight / weight of all
//   idle            = Σ over the moments nobody is there of  rate
//
// Each change costs the same however many hold it: what one unit of weight has got since the start
// is added up once, and a holder's part is the difference between its end and its beginning. Parts
// are rounded down, so that they never add up to more than there was.
//
// Thread: a value. Pure; time that goes back stands still.
#pragma once

#include <cstdint>

#include "base/time_types.h"

namespace glowplug::policy {

class EvenSplit final {
 public:
  // rate × nanoseconds. 128 bits hold a terabyte, or a device, for longer than a server runs.
  using Amount = unsigned __int128;
  struct Holder {
    Amount level = 0;
    int weight = 1;
  };

  explicit EvenSplit(Time start, std::uint64_t rate = 1) : at_(start), rate_(rate) {}

  void set_rate(std::uint64_t rate, Time now);
  Holder join(int weight, Time now);
  Amount leave(const Holder& holder, Time now);       // its part, whole
  Amount part(const Holder& holder, Time now) const;  // so far
  Amount total(Time now) const;
  Amount idle(Time now) const;
  bool is_held() const { return weight_ > 0; }

 private:
  void advance(Time now);
  Amount flowed(Time now) const;
  Amount level(Time now) const;

  // Of the level of one unit of weight: a part is at most its weight × 2^-kFineBits too small.
  static constexpr int kFineBits = 20;

  Time at_;
  std::uint64_t rate_;
  std::int64_t weight_ = 0;  // of all that hold it
  Amount level_ = 0, total_ = 0, idle_ = 0;
};

}  // namespace glowplug::policy
