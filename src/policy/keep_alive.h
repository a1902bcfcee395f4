// When an idle replica may stop, and when it sleeps before that.
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

// The moment at which an engine that can sleep does so. A replica within scale.min sleeps too: what
// the minimum holds is the process.
struct IdleEngine {
  Time idle_since{};
  Duration after{};
  std::optional<Time> held_until;  // a `warm` call asked for it; Time::max() = for ever
};
inline std::optional<Time> sleep_time(const IdleEngine& idle) {
  if (idle.held_until == Time::max()) return std::nullopt;
  const Time at = idle.idle_since + idle.after;
  return idle.held_until ? std::max(at, *idle.held_until) : at;
}

}  // namespace glowplug::policy
