// Traffic by weight: which generation of a function the next call goes to, and which one stands in
// for a generation that cannot start.
//
// Smooth weighted round robin: with each call every generation gains its weight, and the one that
// has gathered most takes the call and pays the sum of all. 90 and 10 give exactly nine calls and
// one in any ten, spread out, with no randomness.
//
// Thread: pure functions. Knows revisions by number only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "domain/checkpoint.h"

namespace glowplug::policy {

struct Share {
  int revision = 0;
  int weight = 0;
  std::int64_t gathered = 0;
  friend bool operator==(const Share&, const Share&) = default;
};

// The revision that takes the next call. At least one share has a weight.
int choose(std::span<Share> shares);

enum class Serves { No, Yes };
struct Candidate {
  int revision = 0;
  int weight = 0;
  Serves serves = Serves::No;
};

// The candidate of the largest weight that can serve; of equals the first.
std::optional<int> choose_stand_in(std::span<const Candidate> candidates);

// Each step once, no weight below zero, together 100; the error names the step and the sum.
Result<void> check_weights(std::span<const domain::StepWeight> weights);

}  // namespace glowplug::policy
