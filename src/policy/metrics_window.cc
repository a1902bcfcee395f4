#include "policy/metrics_window.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/result.h"

namespace glowplug::policy {
namespace {

using std::chrono::seconds;

std::int64_t second_of(Time time) {
  return std::chrono::floor<seconds>(time).time_since_epoch().count();
}

Time begin_of(std::int64_t second) { return Time(seconds(second)); }

void count(std::uint16_t& counter) {
  if (counter < std::numeric_limits<std::uint16_t>::max()) ++counter;
}

}  // namespace

void MetricsWindow::note_arrival(Time now) { count(touch(now).arrivals); }

void MetricsWindow::set_concurrency(Time now, int slots) {
  GLOWPLUG_ASSERT(slots >= 0);
  if (slots == gauge_) return;
  touch(now);
  gauge_ = slots;
}

void MetricsWindow::note_request(Time now, Start start) {
  Bucket& bucket = touch(now);
  count(bucket.requests);
  if (start == Start::Waited) count(bucket.cold);
}

void MetricsWindow::note_first_token(Time now, Duration after) {
  Bucket& bucket = touch(now);
  count(bucket.first_tokens);
  bucket.first_token_ns += static_cast<std::uint64_t>(std::max(Duration(0), after).count());
}

WindowSums MetricsWindow::over(int seconds_back, Time now) {
  GLOWPLUG_ASSERT(seconds_back >= 1 && seconds_back <= kSeconds);
  advance(now);
  const std::int64_t last = second_of(latest_);
  const std::int64_t first = last - (seconds_back - 1);
  const Time begin = std::max(begin_of(first), began_);
  WindowSums sums{.span = std::max<Duration>(seconds(1), latest_ - std::min(begin, latest_))};
  std::uint64_t busy_ns = 0, first_token_ns = 0;
  for (std::int64_t second = first; second <= last; ++second) {
    const Bucket& bucket = at(second);
    busy_ns += bucket.busy_ns;
    first_token_ns += bucket.first_token_ns;
    sums.arrivals += bucket.arrivals;
    sums.requests += bucket.requests;
    sums.cold += bucket.cold;
    sums.first_tokens += bucket.first_tokens;
  }
  sums.first_token_sum = Duration(static_cast<Duration::rep>(first_token_ns));
  sums.concurrency = static_cast<double>(busy_ns) / static_cast<double>(sums.span.count());
  return sums;
}

bool MetricsWindow::is_still(Time now) const {
  return gauge_ == 0 && second_of(std::max(now, latest_)) - second_of(active_) >= kSeconds;
}

MetricsWindow::Bucket& MetricsWindow::at(std::int64_t second) {
  const std::int64_t index = (second % kSeconds + kSeconds) % kSeconds;
  return buckets_[static_cast<std::size_t>(index)];
}

// Fills the time up to `now` with the calls that there are; at most once around the ring.
void MetricsWindow::advance(Time now) {
  if (now <= latest_) return;
  const std::int64_t last = second_of(now);
  std::int64_t second = std::max(second_of(latest_), last - kSeconds);
  Time from = std::max(latest_, begin_of(second));
  for (;;) {
    const Time end = std::min(now, begin_of(second + 1));
    at(second).busy_ns +=
        static_cast<std::uint64_t>(gauge_) * static_cast<std::uint64_t>((end - from).count());
    if (second == last) break;
    from = end;
    at(++second) = {};
  }
  latest_ = now;
  if (gauge_ > 0) active_ = now;
}

MetricsWindow::Bucket& MetricsWindow::touch(Time now) {
  const bool was_still = is_still(now);
  advance(now);
  if (was_still) began_ = latest_;
  active_ = latest_;
  return at(second_of(latest_));
}

}  // namespace glowplug::policy
