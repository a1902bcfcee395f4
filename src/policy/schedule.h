// What a schedule holds of a function at a moment, and when that changes.
//
// Thread: pure functions.
#pragma once

#include <optional>

#include "base/time_types.h"
#include "domain/schedule.h"

namespace glowplug::policy {

struct Scheduled {
  int replicas = 0;
  bool has_template = false;
  friend bool operator==(const Scheduled&, const Scheduled&) = default;
};

// Of several holds at once the largest counts.
Scheduled scheduled_at(const domain::Schedule& schedule, WallTime now);

// The next beginning or end of a hold, after `now`; none without holds.
std::optional<WallTime> next_change(const domain::Schedule& schedule, WallTime now);

}  // namespace glowplug::policy
