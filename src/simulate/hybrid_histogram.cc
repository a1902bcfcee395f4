#include "simulate/hybrid_histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "simulate/seconds.h"

namespace glowplug::simulate {
namespace {

constexpr std::uint64_t kLeastIdleTimes = 10;
constexpr double kLeastVariation = 2;
constexpr double kMostBeyond = 0.5;  // of all idle times
constexpr std::size_t kLastKept = 10;
constexpr Duration kRange = IdleTimes::kBin * IdleTimes::kBins;

Duration part(double share, Duration of) { return from_seconds(share * to_seconds(of)); }

}  // namespace

void IdleTimes::note(Duration idle) {
  const auto bin = static_cast<std::size_t>(std::max(Duration(0), idle) / kBin);
  if (bin < kBins) {
    ++counts_[bin];
    ++inside_;
  } else {
    ++beyond_;
  }
  last_.push_back(idle);
  if (last_.size() > kLastKept) last_.pop_front();
}

double IdleTimes::variation() const {
  const double mean = static_cast<double>(inside_) / kBins;
  if (mean == 0) return 0;
  double squares = 0;
  for (const std::uint32_t count : counts_) squares += (count - mean) * (count - mean);
  return std::sqrt(squares / kBins) / mean;
}

// The beginning of the bin in which that share is reached, and `within` more.
Duration IdleTimes::percentile(double share, Duration within) const {
  const double wanted = share * static_cast<double>(inside_);
  std::uint64_t seen = 0;
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    seen += counts_[bin];
    if (static_cast<double>(seen) >= wanted && seen > 0)
      return kBin * static_cast<std::int64_t>(bin) + within;
  }
  return kRange;
}

IdlePlan IdleTimes::plan() const {
  const std::uint64_t all = inside_ + beyond_;
  if (all < kLeastIdleTimes) return {.keep = kRange};
  if (static_cast<double>(beyond_) > kMostBeyond * static_cast<double>(all)) {
    const Duration sum = std::accumulate(last_.begin(), last_.end(), Duration(0));
    const Duration mean = sum / static_cast<std::int64_t>(last_.size());
    return {.back = part(0.85, mean), .hold = part(0.30, mean)};
  }
  if (variation() < kLeastVariation) return {.keep = kRange};
  const Duration head = percentile(0.05, Duration(0)), tail = percentile(0.99, kBin);
  if (head == Duration(0)) return {.keep = part(1.1, tail)};
  return {.back = part(0.9, head), .hold = part(1.1, tail) - part(0.9, head)};
}

Duration HybridHistogram::keep_alive(std::uint32_t number) {
  Function& function = functions_[number];
  if (function.idle_since) function.times.note(world_.now() - *function.idle_since);
  function.idle_since.reset();
  ++function.open;
  ++function.turn;
  return function.times.plan().keep;
}

void HybridHistogram::call_ended(const CallResult& result) {
  Function& function = functions_[result.function];
  if (--function.open > 0) return;
  function.idle_since = result.ended;
  const IdlePlan plan = function.times.plan();
  if (!plan.back) return;
  world_.do_at(result.ended + *plan.back,
               [this, number = result.function, turn = function.turn, hold = plan.hold] {
                 if (functions_.at(number).turn == turn)  // it was not called meanwhile
                   world_.post(control::WarmWanted{world_.name_of(number), 1, hold});
               });
}

}  // namespace glowplug::simulate
