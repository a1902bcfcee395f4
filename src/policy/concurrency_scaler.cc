#include "policy/concurrency_scaler.h"

#include <algorithm>
#include <cmath>

namespace glowplug::policy {
namespace {

// 8.4 / 2.8 is a little more than 3 in binary: slots that are busy just as wanted ask for no more.
constexpr double kRounding = 1e-9;

}  // namespace

double replicas_for(double concurrency, double target) {
  return std::max(0.0, std::ceil(concurrency / target - kRounding));
}

ScaleWish ConcurrencyScaler::decide(const LoadFacts& facts, Time now) {
  latest_ = std::max(latest_, now);
  const double ready = std::max(1, facts.ready);
  const double up = std::ceil(settings_.up_rate * ready);
  const double down = std::floor(ready / settings_.down_rate);
  const double stable = replicas_for(facts.stable.concurrency, target(facts));
  const double panic = replicas_for(facts.panic.concurrency, target(facts));
  note_panic(facts, panic);

  ScaleWish wish{.asked = static_cast<int>(std::min(std::max(stable, down), up)),
                 .rule = ScaleRule::Stable,
                 .value = facts.stable.concurrency,
                 .limit = target(facts)};
  if (panic_since_) {
    wish.asked = std::max(wish.asked, static_cast<int>(std::min(std::max(panic, down), up)));
    most_in_panic_ = std::max(most_in_panic_, wish.asked);
    wish.asked = most_in_panic_;
    wish.rule = ScaleRule::Panic;
    wish.value = std::max(facts.panic.concurrency, facts.stable.concurrency);
  }
  if (wish.asked > 0 || facts.stable.arrivals > 0 || facts.live == 0) {
    still_since_.reset();
  } else {
    if (!still_since_) still_since_ = latest_;
    const Duration still = latest_ - *still_since_;
    wish.rule = ScaleRule::Grace;
    wish.value = to_seconds(still);
    wish.limit = to_seconds(settings_.zero_grace);
    if (still < settings_.zero_grace) wish.asked = 1;
  }
  // A call that took no time at all wants what is there.
  if (wish.asked == 0 && facts.stable.arrivals > 0) wish.asked = std::min(1, facts.live);
  wish.excess_burst = excess_burst(facts);
  return within_bounds(wish, facts);
}

void ConcurrencyScaler::note_panic(const LoadFacts& facts, double wanted_in_panic) {
  if (!begun_ && facts.ready > 1) {
    panic_since_ = latest_;
    most_in_panic_ = facts.ready;
  }
  begun_ = true;
  if (wanted_in_panic / std::max(1, facts.ready) >= settings_.panic_threshold) {
    panic_since_ = latest_;
  } else if (panic_since_ && *panic_since_ + settings_.stable_window < latest_) {
    panic_since_.reset();
    most_in_panic_ = 0;
  }
}

std::optional<Time> ConcurrencyScaler::review(Time now) const {
  if (!still_since_) return std::nullopt;
  const Time zero = *still_since_ + settings_.zero_grace;
  return zero > now ? std::optional<Time>(zero) : std::nullopt;
}

int ConcurrencyScaler::excess_burst(const LoadFacts& facts) const {
  if (settings_.burst_capacity == 0) return 0;
  if (settings_.burst_capacity < 0) return -1;
  return static_cast<int>(
      std::floor(facts.ready * facts.slots - settings_.burst_capacity - facts.panic.concurrency));
}

}  // namespace glowplug::policy
