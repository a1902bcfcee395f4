// How many further replicas of a function are worth starting for its load alone.
//
// A replica that computes on the cores gets its threads when it starts. Where those that work have
// all of them, one more makes each slower and no answer sooner: its slots are best left to the
// queue. Growth never pushes out what others hold ready, so it needs memory that is free.
//
// Thread: pure functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace glowplug::policy {

struct GrowthFacts {
  // None: what it computes on is its owner's business (a foreign engine without a declared number).
  std::optional<int> threads_each = {};
  int cores_total = 1;
  int cores_taken = 0;  // threads of replicas that are starting or have work, of all functions
  std::uint64_t bytes_each = 0;
  std::uint64_t bytes_free = 0;
};

inline int growth_room(const GrowthFacts& facts, int wanted) {
  int room = std::max(0, wanted);
  if (facts.threads_each)
    room = std::min(room, std::max(0, facts.cores_total - facts.cores_taken) /
                              std::max(1, *facts.threads_each));
  if (facts.bytes_each > 0)
    room = static_cast<int>(
        std::min(static_cast<std::uint64_t>(room), facts.bytes_free / facts.bytes_each));
  return room;
}

}  // namespace glowplug::policy
