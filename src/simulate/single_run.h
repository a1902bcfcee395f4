// One run of a source of calls in one world, with everything that watches it.
//
// Thread: one owner; two runs share nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "simulate/checkers.h"
#include "simulate/controller.h"
#include "simulate/request.h"
#include "simulate/totals.h"
#include "simulate/world_model.h"

namespace glowplug::simulate {

// What is deployed; that as a bound, and the next call known.
enum class KeepAlive { AsDeployed, HybridHistogram, Clairvoyant };
enum class Checks { On, Off };  // of all that must hold (simulate/checkers.h)

struct RunSetup {
  WorldModel model;
  std::uint64_t seed = 1;
  int faults = 0;  // from the seed, within trouble_length
  Duration trouble_length = std::chrono::hours(1);
  KeepAlive keep_alive = KeepAlive::AsDeployed;
  control::EvictionOrder eviction = control::EvictionOrder::Worth;
  std::function<void(std::string_view)> log = nullptr;  // takes lines of the decision log
  std::string build = "";                               // of this program, for its head
  Checks checks = Checks::On;
  TimedController::Stopwatch stopwatch = nullptr;  // times the brain's turns, and changes none
};

struct RunOutcome {
  Figures figures;
  std::uint64_t turns = 0;
  int faults = 0;  // that did something
  std::optional<Violation> violation;
};

// Functions that the model tells apart are deployed at the beginning, others with their first call,
// or as soon as the source knows them. The error is the source's, or names a function of the model
// that the source, known to its end, has no call of.
Result<RunOutcome> run_once(const RunSetup& setup, RequestSource& source);

// How replicas start: as their manifest says, each by exec, or forked from templates.
enum class Starts { AsDeployed, Executed, Forked };

// What a plan compares: the brain's autoscalers as they are, and what others do, with starts by
// exec. All of them scale by Knative's formula under load but for the two that name another one.
struct PlanVariant {
  std::string name;
  std::optional<Duration> keep_alive = {};  // none: the manifest's
  domain::ScalePolicy policy = domain::ScalePolicy::Concurrency;
  Starts starts = Starts::AsDeployed;
  KeepAlive rule = KeepAlive::AsDeployed;
  control::EvictionOrder eviction = control::EvictionOrder::Worth;
};
std::vector<PlanVariant> plan_variants();
// The same world with functions as the variant has them.
WorldModel with(WorldModel model, const PlanVariant& variant);

}  // namespace glowplug::simulate
