// How many calls of a function may be tried again: one in ten, so that a function whose replicas
// die is not asked twice of everything. A small stock, filled again as time goes by, lets a lone
// call be tried again too.
//
// Thread: a value of its owner's.
#pragma once

#include "base/time_types.h"

namespace glowplug::policy {

class RetryBudget final {
 public:
  static constexpr double kOfEachCall = 0.1;
  static constexpr double kHeldMax = 10;                               // retries at once
  static constexpr Duration kOneMoreEvery = std::chrono::seconds(10);  // without any call

  void note_call() { add(kOfEachCall); }
  bool take(Time now);  // for one retry; false: there have been enough

 private:
  void add(double retries) { held_ = held_ + retries < kHeldMax ? held_ + retries : kHeldMax; }

  double held_ = kHeldMax;
  Time filled_{};
};

}  // namespace glowplug::policy
