// Whether a template keeps a spare: a replica forked ahead of demand that serves nobody yet, so
// that a start is a hand-over.
//
// One for a template whose functions were called lately. It is made when the cores have nothing
// better to do, or at the latest a little after the last one was taken.
//
// Thread: pure functions.
#pragma once

#include <optional>

#include "base/time_types.h"

namespace glowplug::policy {

struct SpareDemand {
  Time last_used{};   // a call of any of the template's functions was granted
  Time not_before{};  // the last spare was taken, or died, then
  bool cores_busy = false;
};

bool keeps_spare(const SpareDemand& demand, Time now);  // one that is there stays
bool makes_spare(const SpareDemand& demand, Time now);  // one that is missing is made now
std::optional<Time> spare_review(const SpareDemand& demand, Time now);  // when to ask again

}  // namespace glowplug::policy
