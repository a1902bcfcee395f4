// The predictive policy: the concurrency policy, and ahead of it, by the time that a start takes,
// what the function's own past lets expect:
//
//   by time of day    as many replicas as the busiest 5 minutes until then were foretold to want
//   by idle times     one replica from shortly before the next call is expected until that is
//                     overdue, where on past idle times it idles less than its starts are worth
//                     (keep_time.h)
//
// It never wants fewer than the concurrency policy, and wants just the same wherever its forecast
// was of late worse than a naive one, where there is too little to go by, and where a start takes
// less than 0.1 s: nobody notices that, and a replica that waits costs memory.
//
// A replica that is there when the last call ends stays for keep_alive, or less where that was
// mostly in vain (keep_time.h).
//
// 2.3 KB each. Thread: whoever owns the object.
#pragma once

#include <optional>

#include "base/units.h"
#include "policy/autoscaler.h"
#include "policy/concurrency_scaler.h"
#include "policy/forecast.h"
#include "policy/keep_time.h"

namespace glowplug::policy {

class PredictiveScaler final : public Autoscaler {
 public:
  ScaleWish decide(const LoadFacts& facts, Time now) override;
  void note_busy(Time now) override;
  void note_idle(Time now) override;
  std::optional<Time> review(Time now) const override;
  Duration keep_time(Duration keep_alive) override;

 private:
  struct Span {
    Time from, until;
  };
  bool acts_ahead() const;
  Duration lead() const { return start_time_ + kScaleTick; }
  std::optional<Span> expected() const;  // in which a replica waits for a call

  ConcurrencyScaler concurrency_;
  IdleTimes idle_times_;
  KeepTime keep_time_;
  DayShape day_;
  IdleTimes::Plan plan_;  // of the idle time under way
  bool is_worth_ = true;
  Duration keep_alive_ = kForever;  // as last asked
  std::optional<Time> idle_since_;
  Duration start_time_{};
};

}  // namespace glowplug::policy
