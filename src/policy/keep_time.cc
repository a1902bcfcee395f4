#include "policy/keep_time.h"

#include <algorithm>
#include <cmath>

#include "base/units.h"

namespace glowplug::policy {
namespace {

constexpr int kNotedMin = 10;
constexpr float kFade = 0.97F;

// Of one idle time, for one that stays so long.
double cost_of(double idle_s, double stay_s, double keep_s) {
  return idle_s <= stay_s ? idle_s : stay_s + keep_s;
}

}  // namespace

Duration KeepTime::within(Duration keep_alive) {
  if (keep_alive == kForever || keep_alive <= Duration(0)) return keep_alive;
  keep_s_ = stay_s_ = to_seconds(keep_alive);
  if (noted_ < kNotedMin) return keep_alive;
  stay_s_ = cheapest(keep_s_);
  if (cost_ > fixed_cost_ || stay_s_ >= keep_s_) return keep_alive;
  return Duration(std::llround(stay_s_ * 1e9));
}

void KeepTime::note(Duration idle) {
  const double idle_s = std::max(0.0, to_seconds(idle));
  cost_ = kFade * cost_ + cost_of(idle_s, stay_s_, keep_s_);
  fixed_cost_ = kFade * fixed_cost_ + cost_of(idle_s, keep_s_, keep_s_);
  for (Bin& bin : bins_) {
    bin.weight *= kFade;
    bin.seconds *= kFade;
  }
  Bin& bin = bins_[bin_of(idle_s)];
  bin.weight += 1;
  bin.seconds += static_cast<float>(idle_s);
  noted_ = std::min(noted_ + 1, kNotedMin);
}

double KeepTime::begin_of(std::size_t bin) {
  return bin == 0 ? 0 : std::exp2(static_cast<double>(bin - 1) / 2);
}

std::size_t KeepTime::bin_of(double seconds) {
  if (seconds < 1) return 0;
  return std::min(kBins - 1, static_cast<std::size_t>(1 + std::floor(2 * std::log2(seconds))));
}

// Of staying not at all, until the end of each bin, and for all of keep_alive.
double KeepTime::cheapest(double keep_s) const {
  double left = 0;  // idle times that are longer
  for (const Bin& bin : bins_) left += bin.weight;
  double best = 0, least = left * keep_s, idle_s = 0;
  for (std::size_t i = 0; i < kBins && begin_of(i) < keep_s; ++i) {
    const Bin& bin = bins_[i];
    const double until = std::min(keep_s, i + 1 < kBins ? begin_of(i + 1) : keep_s);
    if (bin.weight <= 0 || bin.seconds > until * bin.weight) continue;  // mostly longer than that
    left = std::max(0.0, left - bin.weight);
    idle_s += bin.seconds;
    const double cost = idle_s + left * (until + keep_s);
    if (cost >= least) continue;
    least = cost;
    best = until;
  }
  return best;
}

}  // namespace glowplug::policy
