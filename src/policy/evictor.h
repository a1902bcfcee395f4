// Which of what is idle makes room: the least worth keeping first, never what has work.
//
// What is worth keeping saves a start, or a part of it, where the next call is for it:
//
//   worth = how likely the next visit is its function's × the time that a start takes longer
//           without it / the bytes that it holds
//
// A visit is a call that comes after another function's: only what comes between two calls of one
// function can push it out. Each visit counts for its function, also after it was evicted, and half
// as much after every 64 visits of anybody, so that it needs no unit of time (LRFU of Lee et al.,
// 2001, with the use counts of greedy-dual kept beyond an eviction). Never-visited functions have
// no worth, and among equals the least recently used goes first.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time_types.h"
#include "domain/ids.h"

namespace glowplug::policy {

struct Visits {
  double count = 0;      // at the visit `at`
  std::uint64_t at = 0;  // by whoever counts the visits of all
  friend bool operator==(const Visits&, const Visits&) = default;
};
void note_visit(Visits& visits, std::uint64_t now);
// The chance that the next visit is this function's, as its logarithm to base 2: it may be too
// small for a number. Minus infinity where it never had one.
double log2_likely(const Visits& visits, std::uint64_t now);

// What frees its bytes only once all that was forked from it is gone, it or not, comes after it.
enum class Layer { Replica, Primed, Base };

struct Kept {
  domain::ProcessId process;
  Layer layer = Layer::Replica;
  std::optional<domain::ProcessId> from, base;  // what it was forked from
  std::uint64_t bytes = 0;
  Duration saves{};        // at its function's next start
  double log2_likely = 0;  // not 0 × saves: see above
  bool is_held = false;    // somebody asked for it: after all others
  Time last_used{};
};

// The least worth keeping first; a template after what was forked from it.
std::vector<Kept> eviction_order(std::span<const Kept> idle);

// What stops so that `needed_bytes` become free, in that order; nothing of it without need. nullopt
// when all of it is not enough: then nothing is stopped for nothing.
std::optional<std::vector<Kept>> choose_evictions(std::span<const Kept> idle,
                                                  std::uint64_t needed_bytes);

// "it saves 1.2 s at a start, which is 3.5 % likely to be next".
std::string worth_in_words(const Kept& kept);

}  // namespace glowplug::policy
