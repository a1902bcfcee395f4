// A whole run from one number: a machine, its functions, their traffic, trouble, and then a test
// that everything is served once the trouble is over, and that nothing is left after a drain.
//
// Thread: one owner; two scenarios share nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "simulate/checkers.h"
#include "simulate/controller.h"

namespace glowplug::simulate {

struct ScenarioOptions {
  std::uint64_t seed = 1;
  std::uint64_t requests = 1'000;
  int faults = 20;
  Observer* observer = nullptr;  // beside the checkers
  // Of the brain; a test may break it. By default the brain as it is.
  std::unique_ptr<Controller> (*make_controller)(control::BrainOptions) = nullptr;
};

struct ScenarioResult {
  std::uint64_t seed = 0;
  std::uint64_t requests = 0, answered = 0, refused = 0, left = 0, broken = 0, timed_out = 0;
  std::uint64_t cold = 0;
  int faults = 0;  // that did something
  std::uint64_t turns = 0;
  Duration virtual_time{};
  std::uint64_t digest = 0;  // of all that was said; equal for equal seeds
  std::optional<Violation> violation;
};

ScenarioResult run_scenario(const ScenarioOptions& options);

// The world that a seed makes, for whoever wants to look at it alone.
WorldModel scenario_world(std::uint64_t seed);

}  // namespace glowplug::simulate
