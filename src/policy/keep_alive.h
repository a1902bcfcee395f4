// When an idle replica may stop.
//
// Thread: pure functions.
#pragma once

#include <algorithm>
#include <optional>

#include "base/time_types.h"
#include "base/units.h"

namespace glowplug::policy {

struct IdleReplica {
  Time idle_since{};
  Duration keep_alive{};           // kForever = never
  std::optional<Time> held_until;  // a `warm` call asked for it
  bool within_minimum = false;     // scale.min wants it
};

// The moment it stops; nullopt = never by itself.
inline std::optional<Time> stop_time(const IdleReplica& idle) {
  if (idle.within_minimum || idle.keep_alive == kForever) return std::nullopt;
  const Time by_keep_alive = idle.idle_since + idle.keep_alive;
  return idle.held_until ? std::max(by_keep_alive, *idle.held_until) : by_keep_alive;
}

}  // namespace glowplug::policy
