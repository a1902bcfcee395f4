// Which idle replicas make room: the least recently used first, never one with a request in flight.
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

struct EvictionCandidate {
  domain::ProcessId replica;
  std::uint64_t memory_bytes = 0;
  int in_flight = 0;
  Time last_used{};
};

// The replicas to stop so that `needed_bytes` become free; nullopt when even all idle ones are not
// enough (then nothing is stopped for nothing).
std::optional<std::vector<domain::ProcessId>> choose_evictions(
    std::span<const EvictionCandidate> candidates, std::uint64_t needed_bytes);

// With every candidate busy, the one whose new work should go elsewhere so that a waiting function
// gets its turn: the least recently granted. It finishes what it has.
std::optional<domain::ProcessId> choose_to_drain(std::span<const EvictionCandidate> candidates);

}  // namespace glowplug::policy
