#include "simulate/single_run.h"

#include <algorithm>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "control/decision_log.h"
#include "domain/errors.h"
#include "simulate/clairvoyant.h"
#include "simulate/hybrid_histogram.h"
#include "simulate/trouble.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLastCallWithin = 24h;
enum Stream : std::uint64_t { kWorld = 1, kTrouble };

class Logger final : public Observer {
 public:
  Logger(const RunSetup& setup, const control::BrainOptions& options) : write_(setup.log) {
    write_(log_.head(options, {.build = setup.build}));
  }
  void close() { write_(control::DecisionLog::end(control::kLogClosed)); }
  void turned(const Turn& turn) override {
    write_(log_.turn(turn.event, turn.now, turn.wall, turn.effects, turn.brain));
  }

 private:
  const std::function<void(std::string_view)>& write_;
  control::DecisionLog log_;
};

// Functions that the world tells apart and that no call can be of: a name that is written wrongly.
Result<void> all_are_called(const WorldModel& model, const RequestSource& source) {
  constexpr std::size_t kNamesShown = 5;
  const std::vector<std::string>& called = source.functions();
  const std::set<std::string_view> known(called.begin(), called.end());
  for (const auto& [name, manifest] : model.functions) {
    if (known.contains(name)) continue;
    const std::size_t shown = std::min(called.size(), kNamesShown);
    return Error{std::string(domain::error::kInvalidValue),
                 fmt::format("functions.{}: no call is of it; calls are of {}{}. Mend the name, or "
                             "leave it out",
                             name, fmt::join(called.begin(), called.begin() + shown, ", "),
                             shown < called.size() ? ", …" : ""),
                 "model"};
  }
  return {};
}

}  // namespace

Result<RunOutcome> run_once(const RunSetup& setup, RequestSource& calls) {
  const bool by_histogram = setup.keep_alive == KeepAlive::HybridHistogram;
  std::optional<Clairvoyant> clairvoyant;
  if (setup.keep_alive == KeepAlive::Clairvoyant) {
    auto all = Clairvoyant::of(calls);
    if (!all) return all.error();
    clairvoyant = *std::move(all);
  }
  RequestSource& source = clairvoyant ? *clairvoyant : calls;
  const Random seeds(setup.seed);
  const Machine& machine = setup.model.machine;
  control::BrainOptions options = brain_options(setup.model);
  options.eviction = setup.eviction;
  BrainController brain(options);
  TimedController timed(brain, setup.stopwatch);
  Controller& controller = setup.stopwatch ? static_cast<Controller&>(timed) : brain;
  std::optional<HybridHistogram> histogram;
  WorldOptions world_options{.seed = seeds.split(kWorld).bits()};
  if (by_histogram)
    world_options.keep_alive = [&histogram](std::uint32_t function) {
      return histogram->keep_alive(function);
    };
  if (clairvoyant)
    world_options.keep_alive = [&](std::uint32_t function) {
      return clairvoyant->keep_alive(function, setup.model.function.keep_alive);
    };
  World world(setup.model, std::move(world_options), controller);
  Checkers checkers(setup.model);
  Totals totals(world.now(), machine);
  if (setup.checks == Checks::On) world.watch(checkers);
  world.watch(totals);
  std::optional<Logger> logger;
  if (setup.log) world.watch(logger.emplace(setup, options));
  std::optional<Trouble> trouble;
  if (setup.faults > 0)
    trouble.emplace(world, TroubleOptions{.seed = seeds.split(kTrouble).bits(),
                                          .faults = setup.faults,
                                          .acts = 0,
                                          .length = setup.trouble_length,
                                          .memory_bytes = machine.memory_bytes});
  Interruption* const interruption = trouble ? &*trouble : nullptr;
  if (by_histogram) world.watch(histogram.emplace(world));
  if (source.knows_all())
    if (auto called = all_are_called(setup.model, source); !called) return called.error();
  for (const auto& [name, manifest] : setup.model.functions) world.deploy(name);
  const auto played = play(world, source, {.interruption = interruption, .stop = [&checkers] {
                                             return checkers.violation().has_value();
                                           }});
  if (!played) return played.error();
  if (!checkers.violation()) {
    if (*played > 0 && source.knows_all())
      if (auto called = all_are_called(setup.model, source); !called) return called.error();
    settle(world, world.now() + kLastCallWithin, interruption);
    if (setup.checks == Checks::On) checkers.at_end(world.now());
  }
  if (logger) logger->close();
  totals.end(world.now(), world.busy_core_seconds());
  Figures figures = totals.figures();
  if (setup.stopwatch) figures.turns = timed.turns();
  return RunOutcome{.figures = std::move(figures),
                    .turns = totals.turns(),
                    .faults = trouble ? trouble->faults_done() : 0,
                    .violation = checkers.violation()};
}

std::vector<PlanVariant> plan_variants() {
  using domain::ScalePolicy;
  // Knative: a window of 60 s without a call, and 30 s of grace.
  const auto executed = [](const char* name, Duration keep_alive) {
    return PlanVariant{.name = name, .keep_alive = keep_alive, .starts = Starts::Executed};
  };
  PlanVariant lru = executed("lru", kForever);
  lru.eviction = control::EvictionOrder::LastUse;
  PlanVariant histogram = executed("histogram", 0s);
  histogram.rule = KeepAlive::HybridHistogram;
  const auto clairvoyant = [&executed](const char* name, Duration keep_alive) {
    PlanVariant variant = executed(name, keep_alive);
    variant.rule = KeepAlive::Clairvoyant;
    return variant;
  };
  return {{.name = "concurrency"},
          {.name = "threshold", .policy = ScalePolicy::Threshold},
          {.name = "predictive", .policy = ScalePolicy::Predictive},
          {.name = "keep-1m", .keep_alive = 1min},
          {.name = "keep-10s", .keep_alive = 10s},
          executed("knative", 90s),
          executed("fixed-1m", 1min),
          executed("fixed-5m", 5min),
          executed("fixed-10m", 10min),
          std::move(lru),
          std::move(histogram),
          clairvoyant("oracle-1m", 1min),
          clairvoyant("oracle-5m", 5min),
          clairvoyant("oracle-10m", 10min)};
}

WorldModel with(WorldModel model, const PlanVariant& variant) {
  const auto change = [&variant](domain::Manifest& function) {
    function.keep_alive = variant.keep_alive.value_or(function.keep_alive);
    function.scale.policy = variant.policy;
    if (variant.starts == Starts::Executed) function.template_use = domain::TemplateUse::Off;
    if (variant.starts == Starts::Forked) function.template_use = domain::TemplateUse::On;
  };
  change(model.function);
  for (auto& [name, function] : model.functions) change(function);
  return model;
}

}  // namespace glowplug::simulate
