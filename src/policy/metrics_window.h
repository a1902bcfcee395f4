// What calls did to one function in the last 60 seconds: a ring of buckets, one a second.
//
// Concurrency is what its owner says it is, the slots of calls that wait or run, as an integral
// over time, so that no sampling misses a short call. A window of n seconds is the running second
// and the n - 1 before it; of that, the mean is over the time since calls came again after a still
// minute, and at least over a second: a function that has just woken is judged by what it has seen
// so far, as Knative's buckets do.
//
// All sums are whole numbers, so that two runs of the same events agree to the bit. It takes 1.5 KB
// whatever happens, 15 MB for 10,000 functions; one that is still may be dropped and made anew.
// Time that steps back counts as the latest seen.
//
// Thread: whoever owns the object.
#pragma once

#include <array>
#include <cstdint>

#include "base/time_types.h"

namespace glowplug::policy {

struct WindowSums {
  Duration span{};                 // that the mean is over
  double concurrency = 0;          // mean, in slots
  std::uint64_t arrivals = 0;      // of calls
  std::uint64_t requests = 0;      // of which it is known whether they waited for a start
  std::uint64_t cold = 0;          // those that did
  std::uint64_t first_tokens = 0;  // answers that began
  Duration first_token_sum{};      // from their arrival
  friend bool operator==(const WindowSums&, const WindowSums&) = default;
};

enum class Start { None, Waited };  // whether a call waited for one

class MetricsWindow final {
 public:
  static constexpr int kSeconds = 60;

  void note_arrival(Time now);
  void set_concurrency(Time now, int slots);  // from now on
  void note_request(Time now, Start start);
  void note_first_token(Time now, Duration after);

  // Of the last 1 to kSeconds seconds.
  WindowSums over(int seconds, Time now);
  int concurrency() const { return gauge_; }  // now
  bool is_still(Time now) const;              // nothing in a whole window, nothing now

 private:
  struct Bucket {
    std::uint64_t busy_ns = 0;  // slots × time
    std::uint64_t first_token_ns = 0;
    std::uint16_t arrivals = 0, requests = 0, cold = 0, first_tokens = 0;  // stay at their largest
  };
  Bucket& at(std::int64_t second);
  void advance(Time now);
  Bucket& touch(Time now);  // something happens: the running bucket

  std::array<Bucket, kSeconds> buckets_{};
  Time latest_ = Time::min();
  Time active_ = Time::min();  // the last moment with a call, or something noted
  Time began_ = Time::min();   // the first one after a still window
  int gauge_ = 0;
};
static_assert(sizeof(MetricsWindow) <= 1536);

}  // namespace glowplug::policy
