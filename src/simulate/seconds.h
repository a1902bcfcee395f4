// Seconds as a number, as models reckon, into a duration: in whole nanoseconds, never below zero,
// at most a year. Thread: pure functions.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/time_types.h"

namespace glowplug::simulate {

inline constexpr double kSecondsMost = 366.0 * 24 * 3600;

inline Duration from_seconds(double seconds) {  // rounded down
  return Duration(static_cast<std::int64_t>(std::clamp(seconds, 0.0, kSecondsMost) * 1e9));
}
// What is due after so long is due by then.
inline Duration from_seconds_up(double seconds) {
  return Duration(
      static_cast<std::int64_t>(std::ceil(std::clamp(seconds, 0.0, kSecondsMost) * 1e9)));
}

}  // namespace glowplug::simulate
