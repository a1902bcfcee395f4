// Seconds as a number, as models reckon, into a duration: rounded down to the nanosecond, never
// below zero, at most a year. Thread: pure functions.
#pragma once

#include <algorithm>

#include "base/time_types.h"

namespace glowplug::simulate {

inline Duration from_seconds(double seconds) {
  constexpr double kMost = 366.0 * 24 * 3600;
  return Duration(static_cast<std::int64_t>(std::clamp(seconds, 0.0, kMost) * 1e9));
}

}  // namespace glowplug::simulate
