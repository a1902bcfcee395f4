#include "simulate/scenario.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "base/fnv.h"
#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "simulate/generator.h"
#include "simulate/seconds.h"
#include "simulate/trouble.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

constexpr Duration kHealing = 1min;  // what was remembered of failures is forgotten
// Until a process whose word was lost is given up, and a device is out of quarantine.
constexpr Duration kGivenUp = domain::kLoadStallTimeout + kHealing;
constexpr Duration kOutOfQuarantine = policy::kQuarantineMost;
constexpr Duration kServedWithin = 15min;  // once there is no trouble
constexpr int kRounds = 4;
constexpr Duration kDrainedWithin = 2min;

// Streams of the seed, so that one part's draws do not move another's.
enum Stream : std::uint64_t {
  kMachine = 1,
  kFunctions,
  kTraffic,
  kTrouble,
  kWorld,
  kEnd,
  kBudgets
};

template <typename Value, std::size_t Count>
Value one_of(const std::array<Value, Count>& values, Random& random) {
  return values[random.below(Count)];
}

domain::Manifest any_manifest(Random& random) {
  domain::Manifest manifest;
  manifest.context = one_of(std::array{256, 512, 1024, 2048}, random);
  manifest.slots = random.between(1, 6);
  manifest.keep_alive = one_of(std::array<Duration, 6>{0s, 1s, 10s, 60s, 300s, kForever}, random);
  manifest.scale.min = random.chance(0.15) ? 1 : 0;
  manifest.scale.max = random.between(1, 5);
  manifest.scale.min_template = random.chance(0.15) ? 1 : 0;
  manifest.scale.policy = static_cast<domain::ScalePolicy>(random.below(3));
  manifest.priority = static_cast<domain::Priority>(random.below(3));
  if (random.chance(0.3)) manifest.resources.threads = random.between(1, 4);
  if (random.chance(0.1)) manifest.resources.device = domain::kCpu;
  manifest.limits.queue = one_of(std::array{4, 32, 128}, random);
  manifest.limits.queue_timeout = random.between(20, 60) * 1s;  // the slowest start is shorter
  manifest.limits.timeout = random.between(30, 600) * 1s;
  manifest.share = random.chance(0.3) ? domain::Share::Function : domain::Share::Domain;
  if (random.chance(0.15)) {
    manifest.engine.kind = domain::EngineKind::Process;
    if (random.chance(0.7))
      manifest.engine.process.sleep = domain::EngineSleep{.after = random.between(1, 60) * 1s};
  } else if (random.chance(0.2)) {
    manifest.template_use = domain::TemplateUse::Off;
  }
  if (random.chance(0.1)) {
    manifest.engine = {.kind = domain::EngineKind::Fake};
    manifest.resources.memory_bytes =
        static_cast<std::uint64_t>(random.between(20, 400)) * kMegabyte;
  }
  if (random.chance(0.2)) manifest.prime = {std::string(random.below(400), 'p')};
  if (random.chance(0.2)) {
    const int from = random.between(0, domain::kMinutesPerDay - 1);
    manifest.schedule.push_back(
        {.from = from,
         .until = (from + 60) % domain::kMinutesPerDay,
         .tier = random.chance(0.5) ? domain::Tier::Template : domain::Tier::Replica,
         .count = random.between(1, 2)});
  }
  return manifest;
}

// From one replica on.
domain::Money any_money(const Machine& machine, Random& random) {
  return {random.between(1, 5) * (machine.devices.empty() ? 50'000 : 3'000'000)};
}

// Some allow no replica at all.
domain::Budget any_budget(const Machine& machine, Random& random) {
  domain::Budget budget;
  if (random.chance(0.6)) budget.per_hour = any_money(machine, random);
  if (random.chance(0.1)) budget.per_hour.micros /= 4;
  if (random.chance(0.6))
    budget.memory_bytes = static_cast<std::uint64_t>(random.between(50, 3000)) * kMegabyte;
  return budget;
}

ModelProfile any_model(int number, std::uint64_t size_factor, Random& random) {
  ModelProfile profile;
  profile.name = fmt::format("model-{}", number);
  const auto size = static_cast<std::uint64_t>(random.between(50, 800)) * size_factor;
  profile.file_bytes = profile.weight_bytes = size * kMegabyte;
  profile.kv_bytes_per_token = static_cast<std::uint64_t>(random.between(2, 60)) * 1'000;
  profile.template_bytes = static_cast<std::uint64_t>(random.between(5, 60)) * kMegabyte;
  profile.forked_bytes = static_cast<std::uint64_t>(random.between(5, 30)) * kMegabyte;
  profile.threads = random.between(0, 4);
  profile.prefill_tokens_per_s = random.between(100, 5000);
  profile.step = random.between(1, 10) * 1ms;
  profile.step_stream = random.between(0, 8) * 1ms;
  profile.step_mixed = random.between(20, 165) * 1ms;
  return profile;
}

// Some of each type, or none of it, and at least one of the last.
std::vector<domain::Device> any_fleet(std::uint64_t size_factor, Random& random) {
  std::vector<domain::Device> rows;
  for (const std::string_view type : {domain::kT4, domain::kA10G, domain::kA100}) {
    if (type != domain::kA100 && random.chance(0.4)) continue;
    const auto megabytes = static_cast<std::uint64_t>(random.between(200, 2500)) * size_factor;
    rows.push_back({.name = std::string(type),
                    .type = std::string(type),
                    .memory_bytes = megabytes * kMegabyte,
                    .count = random.between(1, 4)});
  }
  return rows;
}

Traffic any_traffic(std::uint64_t seed, std::size_t functions, std::uint64_t requests) {
  Random random(seed);
  Traffic traffic;
  traffic.seed = random.bits();
  traffic.kind = static_cast<TrafficKind>(random.below(4));
  traffic.functions = functions;
  traffic.tenants = random.chance(0.5) ? 1 : 1 + random.below(4);
  traffic.zipf = random.unit() * 1.5;
  traffic.requests_per_s = random.lognormal(2, 1);
  traffic.length = 30 * 24h;
  traffic.requests_max = requests;
  traffic.prompt = {.median = 100, .sigma = 1, .most = 1000};
  traffic.output = {.median = 30, .sigma = 1, .most = 300};
  traffic.burst_every = random.between(10, 120) * 1s;
  traffic.burst_length = random.between(1, 10) * 1s;
  traffic.burst_factor = random.between(5, 60);
  traffic.day = random.between(5, 60) * 60s;
  traffic.period = random.between(1, 60) * 1s;
  return traffic;
}

// Counts what became of calls, and digests all that was said.
class Record final : public Observer {
 public:
  explicit Record(ScenarioResult& result) : result_(result) {}

  void turned(const Turn& turn) override {
    digest_.step(static_cast<std::uint64_t>(turn.now.time_since_epoch().count()));
    digest_.step(turn.event.index());
    digest_.step(turn.reserved_bytes);
    for (const control::Effect& effect : turn.effects.list) {
      digest_.step(effect.index());
      if (const auto* decision = std::get_if<control::Decision>(&effect)) {
        digest_.add(decision->decision);
        digest_.add(decision->reason);
      }
      if (const auto* granted = std::get_if<control::GrantCall>(&effect)) {
        digest_.step(granted->call.value);
        digest_.step(granted->replica.value);
      }
    }
  }

  void call_ended(const CallResult& call) override {
    digest_.step(call.call.value);
    digest_.step(static_cast<std::uint64_t>(call.outcome));
    result_.cold += call.cold ? 1 : 0;
    last_ = call.outcome;
    last_error_ = call.error;
    switch (call.outcome) {
      case CallOutcome::Answered: ++result_.answered; break;
      case CallOutcome::Refused: ++result_.refused; break;
      case CallOutcome::Left: ++result_.left; break;
      case CallOutcome::Broken: ++result_.broken; break;
      case CallOutcome::TimedOut: ++result_.timed_out; break;
    }
    ended_[call.function] = {call.outcome, call.error};
  }

  struct End {
    CallOutcome outcome = CallOutcome::Answered;
    std::string error;
  };
  std::uint64_t digest() const { return digest_.value(); }
  const std::map<std::uint32_t, End>& ended() const { return ended_; }
  void forget() { ended_.clear(); }

 private:
  ScenarioResult& result_;
  Fnv digest_;
  std::map<std::uint32_t, End> ended_;  // the last call of each function
  CallOutcome last_ = CallOutcome::Answered;
  std::string last_error_;
};

// Every function answers: all at once first, then those that were refused once more, at last one
// after the other.
std::string serve_all(World& world, Record& record) {
  std::vector<std::uint32_t> left;
  for (std::uint32_t i = 0; i < world.functions(); ++i) left.push_back(i);
  for (int round = 0; round < kRounds && !left.empty(); ++round) {
    const bool alone = round + 1 == kRounds;
    record.forget();
    for (const std::uint32_t function : left) {
      world.arrive({.function = function, .prompt_tokens = 8, .output_tokens = 4});
      if (alone) settle(world, world.now() + kServedWithin);
    }
    settle(world, world.now() + kServedWithin);
    if (world.calls_open() > 0) return fmt::format("{} calls are open still", world.calls_open());
    std::vector<std::uint32_t> again;
    for (const std::uint32_t function : left) {
      const Record::End& end = record.ended().at(function);
      const bool fits = end.error != domain::error::kDoesNotFit;
      if (end.outcome != CallOutcome::Answered && fits) again.push_back(function);
    }
    left = std::move(again);
    world.run_until(world.now() + kHealing);
  }
  if (left.empty()) return "";
  const Record::End& end = record.ended().at(left.front());
  return fmt::format("{} is not served after the trouble: {} {}", world.name_of(left.front()),
                     to_string(end.outcome), end.error);
}

std::string drain_all(World& world, Record& record, const control::Brain& brain) {
  record.forget();
  world.post(control::DrainStarted{});
  settle(world, world.now() + domain::kQueueTimeoutMax + kDrainedWithin);
  world.run_until(world.now() + kDrainedWithin);
  if (world.process_count() > 0)
    return fmt::format("{} processes are left after a drain", world.process_count());
  if (brain.reserved_bytes() > 0)
    return fmt::format("{} are reserved after a drain", format_bytes(brain.reserved_bytes()));
  world.arrive({.function = 0});
  settle(world, world.now() + 1s);
  const auto refused = record.ended().find(0);
  if (refused == record.ended().end() || refused->second.error != domain::error::kShuttingDown)
    return "a call that came after the drain was not refused as shutting_down";
  return "";
}

WorldModel world_of(Random random) {
  WorldModel model;
  const std::uint64_t size_factor = random.chance(0.3) ? 40 : 1;
  model.machine.cores = random.between(1, 8);
  model.machine.scale_speed = one_of(std::array{1, 1, 1, 1, 4}, random);
  model.machine.memory_bytes =
      static_cast<std::uint64_t>(random.between(600, 4000)) * kMegabyte * size_factor;
  if (random.chance(0.4)) model.machine.devices = any_fleet(size_factor, random);
  model.machine.template_bytes =
      random.chance(0.2)
          ? 0
          : model.machine.memory_bytes / static_cast<std::uint64_t>(random.between(2, 6));
  model.machine.page_cache_bytes =
      static_cast<std::uint64_t>(random.between(0, 3000)) * kMegabyte * size_factor;
  model.machine.spares = random.between(0, 2);
  model.files = random.chance(0.4) ? ModelFiles::Shared : ModelFiles::OfEachFunction;
  model.models.clear();
  for (int i = random.between(1, 3); i > 0; --i)
    model.models.push_back(any_model(i, size_factor, random));
  model.starts.load_s_per_gb /= static_cast<double>(size_factor);
  model.transfers.read_mb_per_s *= static_cast<double>(size_factor);
  model.transfers.fetch_mb_per_s *= static_cast<double>(size_factor);
  model.transfers.verify_mb_per_s *= static_cast<double>(size_factor);
  model.starts.jitter = 0.3 * random.unit();
  model.starts.exec = random.between(20, 3000) * 1ms;
  model.starts.stop = random.between(1, 2000) * 1ms;
  return model;
}

}  // namespace

WorldModel scenario_world(std::uint64_t seed) {
  WorldModel model = world_of(Random(seed).split(kMachine));
  Random random = Random(seed).split(kBudgets).split(kMachine);
  if (random.chance(0.25)) model.machine.budget_per_hour = any_money(model.machine, random);
  return model;
}

ScenarioResult run_scenario(const ScenarioOptions& options) {
  ScenarioResult result{.seed = options.seed};
  const Random seeds(options.seed);
  const WorldModel model = scenario_world(options.seed);
  const control::BrainOptions brain = brain_options(model);
  const std::unique_ptr<Controller> controller = options.make_controller != nullptr
                                                     ? options.make_controller(brain)
                                                     : std::make_unique<BrainController>(brain);
  Random random = seeds.split(kFunctions), budgets = seeds.split(kBudgets);
  World world(model,
              {.seed = seeds.split(kWorld).bits(),
               .leave_chance = random.chance(0.5) ? 0.05 : 0,
               .patience = random.between(1, 30) * 1s,
               .wall = WallTime(std::chrono::hours(24 * 365 * 50))},
              *controller);
  Checkers checkers(model);
  Record record(result);
  world.watch(checkers);
  world.watch(record);
  if (options.observer != nullptr) world.watch(*options.observer);

  const Time beginning = world.now();
  const int functions = random.between(1, 6);
  for (int i = 0; i < functions; ++i) {
    domain::Manifest manifest = any_manifest(random);
    if (i > 0 && budgets.chance(0.3)) manifest.scale.budget = any_budget(model.machine, budgets);
    manifest.name = fmt::format("fn-{}", i);
    manifest.model = profile_of(model, manifest.name).name;
    world.deploy(manifest);
  }
  const Traffic traffic = any_traffic(seeds.split(kTraffic).bits(),
                                      static_cast<std::size_t>(functions), options.requests);
  const double expected = static_cast<double>(options.requests) / traffic.requests_per_s;
  Trouble trouble(world, {.seed = seeds.split(kTrouble).bits(),
                          .faults = options.faults,
                          .acts = options.faults / 4,
                          .length = from_seconds(std::clamp(expected, 30.0, 4 * 3600.0)),
                          .memory_bytes = model.machine.memory_bytes});
  const auto failed = [&checkers] { return checkers.violation().has_value(); };
  const auto source = make_generator(traffic);
  GLOWPLUG_ASSERT(source.ok());
  const auto played = play(world, **source, {.interruption = &trouble, .stop = failed});
  GLOWPLUG_ASSERT(played.ok());
  result.requests = *played;
  if (!failed()) pass(world, std::max(trouble.heals_at(), world.now()), &trouble);
  settle(world, world.now() + kServedWithin, &trouble);
  result.faults = trouble.faults_done();
  pass(world,
       world.now() + (model.machine.devices.empty() ? kGivenUp : kGivenUp + kOutOfQuarantine),
       &trouble);
  std::string wrong = failed() ? "" : serve_all(world, record);
  if (wrong.empty() && !failed()) wrong = drain_all(world, record, controller->brain());
  checkers.at_end(world.now());
  result.violation = checkers.violation();
  if (!result.violation && !wrong.empty())
    result.violation = Violation{world.now(), checkers.turns(), "served", wrong};
  result.turns = checkers.turns();
  result.digest = record.digest();
  result.virtual_time = world.now() - beginning;
  return result;
}

}  // namespace glowplug::simulate
