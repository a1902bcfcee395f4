// Hours of the week in which a function is held ahead of its calls (`schedule:` of a manifest).
// Times are UTC: a machine's time zone or a change of the clocks moves none of them.
//
// Thread: a value.
#pragma once

#include <cstdint>
#include <vector>

#include "domain/tier.h"

namespace glowplug::domain {

inline constexpr int kMinutesPerDay = 24 * 60;

struct ScheduledHold {
  std::uint8_t days = 0x7f;   // bit 0 is Monday: those on which it begins
  int from = 0;               // minute of the day
  int until = 0;              // minute of that day, or of the next where it is not after `from`
  Tier tier = Tier::Replica;  // Template or Replica
  int count = 1;              // of replicas
  friend bool operator==(const ScheduledHold&, const ScheduledHold&) = default;
};

using Schedule = std::vector<ScheduledHold>;

}  // namespace glowplug::domain
