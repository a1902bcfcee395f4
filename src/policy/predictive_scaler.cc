#include "policy/predictive_scaler.h"

#include <algorithm>
#include <chrono>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kNoticed = 100ms;  // a shorter wait is taken for none (Nielsen, 1993)
constexpr double kUsedMin = 0.5;      // slots; what uses fewer is rare, not busy

}  // namespace

ScaleWish PredictiveScaler::decide(const LoadFacts& facts, Time now) {
  start_time_ = facts.start_time;
  day_.observe(now, facts.panic.concurrency);
  ScaleWish wish = concurrency_.decide(facts, now);
  if (!acts_ahead()) return wish;
  const auto peak = day_.is_worse_than_naive() ? std::nullopt : day_.peak(now, lead());
  if (peak && *peak >= kUsedMin) {
    const double target = concurrency_.target(facts);
    const double asked = std::min<double>(replicas_for(*peak, target), facts.most);
    if (asked > wish.asked) {
      wish.asked = static_cast<int>(asked);
      wish.rule = ScaleRule::Forecast;
      wish.value = *peak;
      wish.limit = target;
    }
  }
  const std::optional<Span> span = expected();
  if (wish.asked == 0 && span && now >= span->from && now < span->until) {
    wish.asked = 1;
    wish.rule = ScaleRule::Expected;
    wish.value = to_seconds(now - *idle_since_);
    wish.limit = to_seconds(plan_.load_after);
  }
  return within_bounds(wish, facts);
}

void PredictiveScaler::note_busy(Time now) {
  if (!idle_since_) return;
  idle_times_.note(now - *idle_since_);
  keep_time_.note(now - *idle_since_);
  idle_since_.reset();
}

void PredictiveScaler::note_idle(Time now) {
  if (idle_since_) return;
  idle_since_ = now;
  plan_ = idle_times_.plan();
  is_worth_ = keep_alive_ == kForever || idle_times_.is_worth(plan_, keep_alive_);
}

std::optional<Time> PredictiveScaler::review(Time now) const {
  std::optional<Time> next = concurrency_.review(now);
  const auto consider = [&next, now](Time at) {
    if (at > now) next = next ? std::min(*next, at) : at;
  };
  if (!acts_ahead()) return next;
  if (const std::optional<Span> span = expected()) {
    consider(span->from);
    consider(span->until);
  }
  if (day_.peak(now, Duration(0))) {  // a step begins to count, or is over
    consider(DayShape::step_after(now + lead()) - lead());
    consider(DayShape::step_after(now));
  }
  return next;
}

Duration PredictiveScaler::keep_time(Duration keep_alive) {
  keep_alive_ = keep_alive;
  const Duration worth = keep_time_.within(keep_alive);
  return acts_ahead() ? worth : keep_alive;
}

bool PredictiveScaler::acts_ahead() const { return start_time_ >= kNoticed; }

std::optional<PredictiveScaler::Span> PredictiveScaler::expected() const {
  if (!idle_since_ || !is_worth_ || plan_.load_after == Duration(0) ||
      idle_times_.is_worse_than_naive())
    return std::nullopt;
  const Time from = *idle_since_ + plan_.load_after - lead();
  return Span{std::max(from, *idle_since_), *idle_since_ + plan_.keep_until};
}

}  // namespace glowplug::policy
