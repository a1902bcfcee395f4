// Whose turn it is where memory holds less than is wanted: which of the waiting functions starts
// next, and which busy replica makes room for it.
//
// A start costs time in which nobody is answered. So the function with most work for each second
// that its start takes comes first, and what has just started serves for a multiple of that time
// before it makes room: two models in turn spend most of it answering. Nobody waits for ever:
// beyond kStarving the longest wait alone decides, and what comes free is not for those behind it.
//
// Thread: pure functions.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"
#include "domain/manifest.h"

namespace glowplug::policy {

inline constexpr Duration kStarving = std::chrono::seconds(10);

// A function whose calls wait for a replica.
struct Contender {
  domain::Priority priority = domain::Priority::Normal;
  Time since{};           // its oldest call arrived
  int waiting = 0;        // weights
  Duration start_cost{};  // what its last start took; 0 = not known yet
};

// Positions in `contenders`, the first to start first.
std::vector<std::size_t> start_order(std::span<const Contender> contenders, Time now);

// How long a function has nothing to do between two of its calls: a running mean, in which no pause
// counts for more than kStarving. It is measured by calls alone, so that it is known also of what
// is evicted in every pause.
struct Pauses {
  std::optional<Duration> mean;
};
void note_pause(Pauses& pauses, Duration pause);

// A replica whose memory a contender could use.
struct Resident {
  domain::ProcessId replica;
  domain::Priority priority = domain::Priority::Normal;
  Time ready{};
  Time last_granted{};
  Duration start_cost{};                // of another of its kind
  std::optional<Time> idle_since = {};  // while nothing is in flight
  Pauses pauses = {};                   // of its function
};

// How long a replica serves before it makes room for one that takes so long to start: starts then
// take a fifth of the time at most.
Duration residency(Duration start_cost);

// The replica that gets no new calls any more, so that the contender has its memory once those in
// flight are answered; nothing while it is nobody's turn yet.
std::optional<domain::ProcessId> choose_to_give_way(std::span<const Resident> residents,
                                                    const Contender& contender, Time now);

// Whoever has waited for kStarving has what comes free to itself for as long, and again after as
// long: what needs much is not outrun for ever by many that need little, nor they by it.
bool has_claim(Time since, Time now);
Time next_claim_change(Time since, Time now);

// Whether a replica with nothing in flight stays for its next call, as if it had work: that call is
// about to come, having back what would go (`back_in`) takes longer than waiting for it, and the
// turn lasts. Without this, two functions whose callers pause between calls would evict each other
// at every call. Who starves, or has priority, is not kept waiting.
bool keeps_its_turn(const Resident& resident, const Contender& contender, Duration back_in,
                    Time now);
// When it, or a template that only it needs, goes at the latest unless its call comes.
std::optional<Time> pause_end(const Resident& resident, const Contender& contender, Time now);

// When it is to be asked again; nothing where no replica could make room.
std::optional<Time> next_turn(std::span<const Resident> residents, const Contender& contender,
                              Time now);

}  // namespace glowplug::policy
