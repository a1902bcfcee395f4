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

// A replica with work, whose memory a contender could use.
struct Resident {
  domain::ProcessId replica;
  domain::Priority priority = domain::Priority::Normal;
  Time ready{};
  Time last_granted{};
  Duration start_cost{};  // of another of its kind
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

// When it is to be asked again; nothing where no replica could make room.
std::optional<Time> next_turn(std::span<const Resident> residents, const Contender& contender,
                              Time now);

}  // namespace glowplug::policy
