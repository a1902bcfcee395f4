// What the calls of one revision do to it, and how many replicas that asks for. The brain keeps one
// from the first call on, while there is something to decide by.
//
// Its window and its autoscaler live on a clock of their own, which may run faster than time.
//
// Thread: values of the brain's.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "base/time_types.h"
#include "base/units.h"
#include "domain/manifest.h"
#include "policy/autoscaler.h"
#include "policy/metrics_window.h"

namespace glowplug::control {

class ScaleClock final {
 public:
  explicit ScaleClock(int speed) : speed_(speed) {}

  // From this moment on; once, before anything is asked of it.
  void begin(Time now) {
    if (!began_) began_ = now;
  }
  Time at(Time now) const { return *began_ + (now - *began_) * speed_; }
  Duration of(Duration real) const { return real * speed_; }
  Duration real(Duration shown) const { return (shown + Duration(speed_ - 1)) / speed_; }
  // The first moment at which it shows that much.
  Time real(Time shown) const {
    return shown == Time::max() ? shown : *began_ + real(shown - *began_);
  }

 private:
  int speed_;
  std::optional<Time> began_;
};

struct Scaling {
  // What was last told of a wish for more: how many, how many more there was room for, and whether
  // that was fewer than were missing.
  struct Told {
    int wanted = 0, room = 0;
    bool too_few = false;
  };
  policy::MetricsWindow window;
  domain::ScalePolicy policy = domain::ScalePolicy::Concurrency;
  std::unique_ptr<policy::Autoscaler> autoscaler;
  std::optional<policy::ScaleWish> wish;  // none before it was first asked
  std::optional<Told> told;
  bool stopped = false;     // somebody asked it to stop: nothing starts ahead of the next call
  Time next = Time::max();  // when it is asked again; max = not before a call comes

  void ask_at(Time shown, const ScaleClock& clock) { next = clock.real(shown); }
  // What it wants is for calls that are foreseen.
  bool is_ahead() const {
    return wish &&
           (wish->rule == policy::ScaleRule::Forecast || wish->rule == policy::ScaleRule::Expected);
  }

  // How long the last replica stays idle, where that is declared; never longer.
  Duration keep_time(Duration keep_alive, const ScaleClock& clock) const {
    if (!autoscaler || keep_alive == kForever) return keep_alive;
    return std::min(keep_alive, clock.real(autoscaler->keep_time(clock.of(keep_alive))));
  }
};

}  // namespace glowplug::control
