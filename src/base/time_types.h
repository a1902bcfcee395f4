// Time as values. Code that decides takes `now` as an argument; only app/ and the edges read a
// clock.
//
// Time counts from an arbitrary start and never goes back (CLOCK_MONOTONIC), so a wall-clock jump
// changes no deadline. WallTime is for display, logs and stored rows.
#pragma once

#include <chrono>

namespace glowplug {

using Duration = std::chrono::nanoseconds;
using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;
using WallTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

inline double to_ms(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
inline double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace glowplug
