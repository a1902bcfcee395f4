// Scenarios of many seeds on several processes, so that one that aborts takes no other with it and
// its seed is known.
//
// Thread: called with no other thread running; it forks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace glowplug::app {

struct SeedRange {
  std::uint64_t first = 1, last = 1;
};
// "1..10000" or "42"; the error says what is wrong.
Result<SeedRange> parse_seeds(const std::string& text);

struct SeedFailure {
  std::uint64_t seed = 0;
  std::string what;  // the rule that does not hold, or the signal that ended it
};

struct SeedTotals {
  std::uint64_t seeds = 0, calls = 0, answered = 0, cold = 0, faults = 0, turns = 0;
  std::uint64_t fewest_calls = 0, fewest_faults = 0;  // of one seed that held
  double virtual_seconds = 0;
  std::uint64_t digest = 0;  // of all seeds; the same for the same seeds
  std::uint64_t failed = 0;
  std::vector<SeedFailure> failures;  // the first hundred of them
};

// `progress` hears now and then how many are done.
Result<SeedTotals> run_seeds(const SeedRange& range, int jobs,
                             const std::function<void(std::uint64_t)>& progress);

}  // namespace glowplug::app
