// How many further replicas of a function are worth starting for its load alone.
//
// Replicas that work share the cores (policy/cores.h). Where they have all of them, one more makes
// each slower and no answer sooner: calls are best left in the queue. Growth never pushes out what
// others hold ready, so it needs memory that is free.
//
// Thread: pure functions.
#pragma once

#include <algorithm>
#include <cstdint>

namespace glowplug::policy {

struct GrowthFacts {
  int threads_each = 1;
  int cores_total = 1;
  // Threads of all its own replicas, and of those of others that are starting or have work.
  int cores_taken = 0;
  std::uint64_t bytes_each = 0;
  std::uint64_t bytes_free = 0;
};

enum class GrowthLimit { None, Cores, Memory };

struct GrowthRoom {
  int replicas = 0;                       // of those that are wanted
  GrowthLimit limit = GrowthLimit::None;  // why not all
  friend bool operator==(const GrowthRoom&, const GrowthRoom&) = default;
};

inline GrowthRoom growth_room(const GrowthFacts& facts, int wanted) {
  GrowthRoom room{.replicas = std::max(0, wanted)};
  const int cores_free = std::max(0, facts.cores_total - facts.cores_taken);
  if (const int by_cores = cores_free / std::max(1, facts.threads_each); by_cores < room.replicas)
    room = {by_cores, GrowthLimit::Cores};
  if (facts.bytes_each == 0) return room;
  const std::uint64_t by_memory = facts.bytes_free / facts.bytes_each;
  if (by_memory < static_cast<std::uint64_t>(room.replicas))
    room = {static_cast<int>(by_memory), GrowthLimit::Memory};
  return room;
}

}  // namespace glowplug::policy
