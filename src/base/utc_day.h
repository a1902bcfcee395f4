// The day of UTC that a moment is in, as people and tables write it. Thread: pure function.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include "base/time_types.h"

namespace glowplug {

inline std::string utc_day(WallTime at) {  // "2026-11-28"
  const std::chrono::year_month_day date(std::chrono::floor<std::chrono::days>(at));
  char text[32];
  std::snprintf(text, sizeof text, "%04d-%02u-%02u", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
  return text;
}

}  // namespace glowplug
