#include "policy/forecast.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kBin = 1min;
constexpr std::size_t kNotedMin = 10;
constexpr double kHead = 0.05, kTail = 0.99;
constexpr double kSpreadBelow = 2;  // coefficient of variation of the bins
constexpr double kMostly = 0.5;     // of the idle times are longer than the bins reach
constexpr double kMargin = 0.1, kLongMargin = 0.15;
constexpr std::uint64_t kRecentMax = std::numeric_limits<std::uint32_t>::max();

constexpr double kLevelGain = 0.3, kSeasonGain = 0.3;
constexpr int kForetoldMin = 10;
constexpr double kErrorGain = 1.0 / DayShape::kSteps;

Duration times(double factor, Duration duration) {
  return Duration(std::llround(factor * static_cast<double>(duration.count())));
}

bool within(Duration idle, double margin, Duration expected) {
  return idle >= times(1 - margin, expected) && idle <= times(1 + margin, expected);
}

std::int64_t step_of(Time time) {
  const std::int64_t ns = time.time_since_epoch().count(), step = DayShape::kStep.count();
  return ns >= 0 ? ns / step : -((-ns + step - 1) / step);
}

}  // namespace

void IdleTimes::note(Duration idle) {
  idle = std::max(Duration(0), idle);
  if (noted_ > 0) score(idle);
  const auto bin = static_cast<std::uint64_t>(idle / kBin);
  if (bin >= kBins) {
    ++beyond_;
  } else if (++bins_[bin] == std::numeric_limits<std::uint16_t>::max()) {
    for (std::uint16_t& count : bins_) count /= 2;  // the shape stays; what comes weighs double
    beyond_ /= 2;
  }
  const auto whole = static_cast<std::uint64_t>(idle / 1s);
  recent_s_[noted_++ % kRecent] = static_cast<std::uint32_t>(std::min(whole, kRecentMax));
}

IdleTimes::Plan IdleTimes::plan() const {
  if (noted_ < kNotedMin) return {};
  const double counted = static_cast<double>(in_bins());
  if (beyond_ > kMostly * (counted + beyond_)) {
    const Duration expected = recent_mean();
    return {Basis::Long, times(1 - kLongMargin, expected), times(1 + kLongMargin, expected)};
  }
  const double mean = counted / kBins;
  double squares = 0;
  for (const std::uint16_t count : bins_) squares += (count - mean) * (count - mean);
  if (std::sqrt(squares / kBins) < kSpreadBelow * mean) return {.basis = Basis::Spread};
  return {Basis::Histogram, times(1 - kMargin, edge(kHead, 0)), times(1 + kMargin, edge(kTail, 1))};
}

bool IdleTimes::is_worse_than_naive() const {
  return std::popcount(hits_) < std::popcount(naive_hits_);
}

bool IdleTimes::is_worth(const Plan& plan, Duration start_worth) const {
  double idle_s = 0, saved = 0;
  const auto judge = [&](Duration idle, double count) {
    if (idle < plan.load_after) return;
    const bool in_time = idle <= plan.keep_until;
    idle_s += count * to_seconds((in_time ? idle : plan.keep_until) - plan.load_after);
    saved += in_time ? count : 0;
  };
  if (plan.basis == Basis::Long) {
    for (std::size_t i = 0; i < std::min(noted_, kRecent); ++i)
      judge(std::chrono::seconds(recent_s_[i]), 1);
  } else {
    for (int bin = 0; bin < kBins; ++bin)
      judge(bin * kBin + kBin / 2, bins_[static_cast<std::size_t>(bin)]);
    judge(kBins * kBin, beyond_);
  }
  return idle_s < saved * to_seconds(start_worth);
}

// A plan that never unloads is right whatever comes, and no forecast: it is not scored.
void IdleTimes::score(Duration idle) {
  const Plan before = plan();
  if (before.load_after == Duration(0)) return;
  const bool hit = idle >= before.load_after && idle <= before.keep_until;
  const Duration last = std::chrono::seconds(recent_s_[(noted_ - 1) % kRecent]);
  hits_ = hits_ << 1 | (hit ? 1u : 0u);
  naive_hits_ = naive_hits_ << 1 | (within(idle, kLongMargin, last) ? 1u : 0u);
}

std::uint64_t IdleTimes::in_bins() const {
  return std::accumulate(bins_.begin(), bins_.end(), std::uint64_t{0});
}

// Of the bin in which that share of the idle times is reached: where it begins (0) or ends (1).
Duration IdleTimes::edge(double share, int up) const {
  const double wanted = share * static_cast<double>(in_bins());
  double passed = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    passed += bins_[static_cast<std::size_t>(bin)];
    if (passed >= wanted && passed > 0) return (bin + up) * kBin;
  }
  return kBins * kBin;
}

Duration IdleTimes::recent_mean() const {
  const std::size_t count = std::min(noted_, kRecent);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += recent_s_[i];
  return std::chrono::seconds(sum / std::max<std::uint64_t>(1, count));
}

Time DayShape::step_after(Time time) { return Time((step_of(time) + 1) * kStep); }

void DayShape::observe(Time now, double load) {
  if (!latest_) {
    latest_ = begin_ = now;
    load_ = load;
    return;
  }
  if (now < *latest_) return;
  // Of a gap longer than the day only its last day is taken in.
  const std::int64_t last = step_of(now);
  if (last - step_of(*latest_) > kSteps) {
    latest_ = begin_ = Time((last - kSteps) * kStep);
    slot_seconds_ = 0;
  }
  for (std::int64_t step = step_of(*latest_); step < last; ++step) {
    const Time end((step + 1) * kStep);
    slot_seconds_ += load_ * to_seconds(end - *latest_);
    if (end > begin_) close(step, slot_seconds_ / to_seconds(end - begin_));
    latest_ = begin_ = end;
    slot_seconds_ = 0;
  }
  slot_seconds_ += load_ * to_seconds(now - *latest_);
  latest_ = now;
  load_ = load;
}

std::optional<double> DayShape::peak(Time now, Duration ahead) const {
  if (closed_ < kSteps) return std::nullopt;
  const std::int64_t first = step_of(now);
  const std::int64_t last = std::min(step_of(now + ahead), first + kSteps - 1);
  double most = 0;
  for (std::int64_t step = first; step <= last; ++step) most = std::max(most, foretold(step));
  return most;
}

bool DayShape::is_worse_than_naive() const {
  return foretold_ < kForetoldMin || error_ > naive_error_;
}

void DayShape::close(std::int64_t step, double mean) {
  if (closed_ < kSteps) {
    season(step) = static_cast<float>(mean);
    if (++closed_ == kSteps) {
      level_ = std::accumulate(season_.begin(), season_.end(), 0.0) / kSteps;
      for (float& one : season_) one -= static_cast<float>(level_);
    }
  } else {
    error_ += kErrorGain * (std::abs(mean - foretold(step)) - error_);
    naive_error_ += kErrorGain * (std::abs(mean - last_) - naive_error_);
    foretold_ = std::min(foretold_ + 1, kForetoldMin);
    const double seasonal = season(step);
    level_ += kLevelGain * (mean - seasonal - level_);
    season(step) = static_cast<float>(seasonal + kSeasonGain * (mean - level_ - seasonal));
  }
  last_ = mean;
}

float& DayShape::season(std::int64_t step) {
  return season_[static_cast<std::size_t>((step % kSteps + kSteps) % kSteps)];
}

double DayShape::foretold(std::int64_t step) const {
  const auto index = static_cast<std::size_t>((step % kSteps + kSteps) % kSteps);
  return std::max(0.0, level_ + season_[index]);
}

}  // namespace glowplug::policy
