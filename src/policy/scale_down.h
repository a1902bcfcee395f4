// Which replicas go when a function has more than it wants, in two steps, so that no call notices:
//
//   serving ──retire──▶ retired: only calls that would wait ──nothing on it──▶ stops
//      ▲                   │
//      └──────recall───────┘  it got one, or more are wanted again: sooner than a start
//
// The emptiest retire first, of those the ones whose prompts are worth least, then the longest
// unused. One with a call in flight may retire and never stops. Of the replicas that serve one
// group of callers (a cache domain) one stays; when that goes is for keep_alive to say.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"

namespace glowplug::policy {

struct ScaleDownCandidate {
  domain::ProcessId replica;
  int in_flight = 0;                   // slots
  double prompts_worth = 0;            // of what it holds of prompts, in any one unit
  std::optional<std::uint64_t> group;  // whom it serves; none = nobody yet, it may go at any time
  Time last_used{};
};

// At most `surplus` of those that serve, in the order in which they go.
std::vector<domain::ProcessId> choose_to_retire(std::span<const ScaleDownCandidate> serving,
                                                int surplus);

// Of those that are retired: the one that would have gone last.
std::optional<domain::ProcessId> choose_to_recall(std::span<const ScaleDownCandidate> retired);

inline bool may_stop(const ScaleDownCandidate& retired) { return retired.in_flight == 0; }

}  // namespace glowplug::policy
