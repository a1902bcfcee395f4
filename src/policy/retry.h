// How long a failure is remembered, and with it when another try is worth it. The first one for
// domain::kFailureRemembered; what goes on failing for twice as long each time, up to most of a
// minute, and not all functions at the same moment. What succeeds once begins anew.
//
// Thread: pure functions.
#pragma once

#include <cstdint>

#include "base/time_types.h"

namespace glowplug::policy {

inline constexpr Duration kFailureMost = std::chrono::seconds(45);  // and a quarter, by `spread`

// After the failure that is the `in_a_row`-th, from 1. A Retry-After may say it: a minute at most.
Duration failure_memory(int in_a_row, std::uint64_t spread);

}  // namespace glowplug::policy
