// Which kept prompt states go first when room is short.
//
// A state's value is the prefill that it saves per byte it holds, times how often it was used,
// halved with each doubling of the time since its last use. A state whose prefill was never
// measured counts with a rate of its own, so that it can be compared with the others.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/time_types.h"

namespace glowplug::policy {

struct PromptWorth {
  std::uint64_t id = 0;
  std::uint64_t bytes = 0;
  std::uint64_t tokens = 0;
  std::uint64_t uses = 0;  // after it was made
  Duration recompute{};    // what a prefill of its tokens takes; zero when nobody measured it
  Duration idle{};         // since its last use, or since it was made
};

double prompt_value(const PromptWorth& worth);

// The least valuable ones that together hold `needed_bytes`; nullopt when all of them do not (then
// none is given up for nothing).
std::optional<std::vector<std::uint64_t>> prompts_to_evict(std::span<const PromptWorth> kept,
                                                           std::uint64_t needed_bytes);

// The least valuable `count` of them.
std::vector<std::uint64_t> least_valuable_prompts(std::span<const PromptWorth> kept,
                                                  std::size_t count);

}  // namespace glowplug::policy
