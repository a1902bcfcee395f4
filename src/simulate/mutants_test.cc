// The checkers are worth something only if they catch a brain that is wrong: some are broken here
// on purpose, between world and brain, and none of them may pass.
#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "simulate/scenario.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

constexpr int kSeeds = 8;

// Believes that each call has ended as soon as it is granted.
class ForgetsInFlight final : public Controller {
 public:
  explicit ForgetsInFlight(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    if (std::holds_alternative<control::CallEnded>(event))
      return brain_.handle(control::Tick{}, now, wall);
    control::Effects all = brain_.handle(event, now, wall);
    for (std::size_t i = 0; i < all.list.size(); ++i) {
      const auto* granted = std::get_if<control::GrantCall>(&all.list[i]);
      if (granted == nullptr) continue;
      control::Effects more = brain_.handle(control::CallEnded{granted->call}, now, wall);
      std::move(more.list.begin(), more.list.end(), std::back_inserter(all.list));
      all.wake_at = more.wake_at;
    }
    return all;
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Does not hear of every tenth end of a process: what that was reserved stays reserved.
class LeaksReservations final : public Controller {
 public:
  explicit LeaksReservations(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    if (std::holds_alternative<control::ProcessGone>(event) && ++gone_ % 10 == 0)
      return brain_.handle(control::Tick{}, now, wall);
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
  int gone_ = 0;
};

// The same of what somebody else takes and gives back.
class KeepsWhatWasSetAside final : public Controller {
 public:
  explicit KeepsWhatWasSetAside(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    if (const auto* aside = std::get_if<control::MemorySetAside>(&event)) {
      most_ = std::max(most_, aside->bytes);
      return brain_.handle(control::MemorySetAside{most_}, now, wall);
    }
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
  std::uint64_t most_ = 1;
};

// Does not hear of what those on a device hold: forgets what was to be promised of it.
class ForgetsWhatDevicesHold final : public Controller {
 public:
  explicit ForgetsWhatDevicesHold(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    const auto* measured = std::get_if<control::MemoryMeasured>(&event);
    if (measured != nullptr && brain_.device_ledger().allocation(measured->process) != nullptr)
      return brain_.handle(control::Tick{}, now, wall);
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Takes what is held there for thrice as much: promises more of a device than anybody may need.
class LeaksOnDevices final : public Controller {
 public:
  explicit LeaksOnDevices(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    const auto* measured = std::get_if<control::MemoryMeasured>(&event);
    if (measured == nullptr || brain_.device_ledger().allocation(measured->process) == nullptr)
      return brain_.handle(event, now, wall);
    return brain_.handle(control::MemoryMeasured{measured->process, 3 * measured->own_bytes,
                                                 3 * measured->mapped_bytes},
                         now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Takes every device for twice as large as it is.
class OvercommitsDevices final : public Controller {
 public:
  explicit OvercommitsDevices(control::BrainOptions options) : brain_(doubled(options)) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  static control::BrainOptions doubled(control::BrainOptions options) {
    for (domain::Device& row : options.accelerators) row.memory_bytes *= 2;
    return options;
  }
  control::Brain brain_;
};

// Hears of every manifest with something changed in it.
template <void (*kChange)(domain::Manifest&)>
void in_manifests(control::Event& event) {
  if (auto* put = std::get_if<control::FunctionPut>(&event)) kChange(put->manifest);
  if (auto* set = std::get_if<control::TrafficSet>(&event))
    for (auto& one : set->served) kChange(one.manifest);
}
template <void (*kChange)(domain::Manifest&)>
using Misreads = Mishears<in_manifests<kChange>>;

void forget_memory_budget(domain::Manifest& manifest) { manifest.scale.budget.memory_bytes = 0; }
void forget_max(domain::Manifest& manifest) { manifest.scale.max = domain::Scale{}.max; }
void forget_min(domain::Manifest& manifest) { manifest.scale.min = 0; }
void take_normal_for_batch(domain::Manifest& manifest) {
  if (manifest.priority == domain::Priority::Normal) manifest.priority = domain::Priority::Batch;
}
void share_among_all(domain::Manifest& manifest) { manifest.share = domain::Share::Function; }

// Lets batch work stand still, once it does.
class NeverThaws final : public Controller {
 public:
  explicit NeverThaws(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    control::Effects effects = brain_.handle(event, now, wall);
    std::erase_if(effects.list, [](const control::Effect& effect) {
      const auto* freeze = std::get_if<control::FreezeReplica>(&effect);
      return freeze != nullptr && !freeze->frozen;
    });
    return effects;
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Does not know what all replicas may cost together.
class SpendsWithoutBound final : public Controller {
 public:
  explicit SpendsWithoutBound(control::BrainOptions options) : brain_(unbounded(options)) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  static control::BrainOptions unbounded(control::BrainOptions options) {
    options.budget_per_hour = {};
    return options;
  }
  control::Brain brain_;
};

// Does not know the budgets of functions; what it shows has them.
class ForgetsBudgets final : public Controller {
 public:
  explicit ForgetsBudgets(control::BrainOptions options) : brain_(free(options)) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  static control::BrainOptions free(control::BrainOptions options) {
    for (domain::DevicePrice& row : options.prices) row.price.per_hour = {};
    return options;
  }
  control::Brain brain_;
};

// Gives a place to whoever came last.
class Starves final : public Controller {
 public:
  explicit Starves(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    if (const auto* arrived = std::get_if<control::CallArrived>(&event))
      waiting_[arrived->function].insert(arrived->call);
    if (const auto* left = std::get_if<control::CallAbandoned>(&event))
      return brain_.handle(control::CallAbandoned{known_as(left->call)}, now, wall);
    if (const auto* ended = std::get_if<control::CallEnded>(&event))
      return brain_.handle(control::CallEnded{known_as(ended->call), ended->outcome}, now, wall);
    control::Effects effects = brain_.handle(event, now, wall);
    for (control::Effect& effect : effects.list) {
      if (auto* granted = std::get_if<control::GrantCall>(&effect)) swap(granted->call);
      if (auto* refused = std::get_if<control::RefuseCall>(&effect)) {
        refused->call = told_as(refused->call);
        for (auto& [name, calls] : waiting_) calls.erase(refused->call);
      }
    }
    return effects;
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  // The call that the world knows under another number in the brain, and back.
  domain::CallId known_as(domain::CallId call) const {
    for (const auto& [in_brain, in_world] : names_)
      if (in_world == call) return in_brain;
    return call;
  }
  domain::CallId told_as(domain::CallId call) const {
    const auto found = names_.find(call);
    return found == names_.end() ? call : found->second;
  }
  void swap(domain::CallId& granted) {
    const domain::CallId next = told_as(granted);
    for (auto& [name, calls] : waiting_) {
      if (!calls.contains(next)) continue;
      const domain::CallId instead = *calls.rbegin();
      calls.erase(instead);
      if (instead != next) {
        const domain::CallId in_brain = known_as(instead);
        names_[granted] = instead;
        names_[in_brain] = next;
      }
      granted = instead;
      return;
    }
    granted = next;
  }

  control::Brain brain_;
  std::map<std::string, std::set<domain::CallId>> waiting_;
  std::map<domain::CallId, domain::CallId> names_;
};

// First come, first served, whoever calls.
void forget_tenant(control::Event& event) {
  if (auto* arrived = std::get_if<control::CallArrived>(&event)) arrived->domain = {};
}
using ForgetsTenants = Mishears<forget_tenant>;

template <typename Mutant>
std::unique_ptr<Controller> make(control::BrainOptions options) {
  return std::make_unique<Mutant>(options);
}

// By the rule that was broken, how many of the seeds; under "" those that passed.
std::map<std::string, int> broken_rules(
    std::unique_ptr<Controller> (*make_controller)(control::BrainOptions), int seeds = kSeeds) {
  std::map<std::string, int> rules;
  for (int seed = 1; seed <= seeds; ++seed) {
    const ScenarioResult result = run_scenario(
        {.seed = static_cast<std::uint64_t>(seed), .make_controller = make_controller});
    ++rules[result.violation ? result.violation->rule : ""];
  }
  return rules;
}

TEST(Mutants, BrainAsItIs_Passes) { EXPECT_EQ(broken_rules(&make<BrainController>)[""], kSeeds); }

TEST(Mutants, ForgetsInFlight_IsCaughtByEverySeed) {
  EXPECT_EQ(broken_rules(&make<ForgetsInFlight>)[""], 0);
}

// Not by a seed in which hardly a process ends, or the tenth end is told twice.
TEST(Mutants, LeaksReservations_IsCaught) {
  EXPECT_GE(broken_rules(&make<LeaksReservations>)["processes"], kSeeds - 2);
}

TEST(Mutants, KeepsWhatWasSetAside_IsCaughtByEverySeed) {
  EXPECT_EQ(broken_rules(&make<KeepsWhatWasSetAside>)[""], 0);
}

// Where a budget binds, which is in a seed out of some.
TEST(Mutants, SpendsWithoutBound_IsCaught) {
  EXPECT_GE(broken_rules(&make<SpendsWithoutBound>, 4 * kSeeds)["budgets"], 2);
}
TEST(Mutants, ForgetsBudgets_IsCaught) {
  EXPECT_GE(broken_rules(&make<ForgetsBudgets>, 4 * kSeeds)["budgets"], 2);
}
TEST(Mutants, ForgetsMemoryBudgets_IsCaught) {
  EXPECT_GE(broken_rules(&make<Misreads<forget_memory_budget>>, 4 * kSeeds)["budgets"], 2);
}

// Where several calls are tried again at once, or others wait beside one.
TEST(Mutants, LetsSuspectsShare_IsCaught) {
  EXPECT_GE(broken_rules(&make<KnowsNoRetry>, 2 * kSeeds)["processes"], 4);
}

// Not by a seed in which no two calls ever wait for one function; in some a call that is tried
// again alone is not alone first.
TEST(Mutants, Starves_IsCaught) {
  std::map<std::string, int> rules = broken_rules(&make<Starves>);
  EXPECT_LE(rules[""], 2);
  EXPECT_GE(rules["calls"], kSeeds / 2);
}

// Where there are devices, and one of them is full.
TEST(Mutants, ForgetsWhatDevicesHold_IsCaught) {
  EXPECT_GE(broken_rules(&make<ForgetsWhatDevicesHold>, 4 * kSeeds)["devices"], 2);
}
TEST(Mutants, LeaksOnDevices_IsCaught) {
  EXPECT_GE(broken_rules(&make<LeaksOnDevices>, 4 * kSeeds)["devices"], 4);
}
TEST(Mutants, OvercommitsDevices_IsCaught) {
  EXPECT_GE(broken_rules(&make<OvercommitsDevices>, 4 * kSeeds)["devices"], 2);
}

TEST(Mutants, IgnoresMax_IsCaught) {
  EXPECT_GE(broken_rules(&make<Misreads<forget_max>>, 4 * kSeeds)["bounds"], 4);
}
TEST(Mutants, IgnoresMin_IsCaught) {
  EXPECT_GE(broken_rules(&make<Misreads<forget_min>>, 4 * kSeeds)["bounds"], 2);
}

TEST(Mutants, NeverThaws_IsCaught) {
  EXPECT_GE(broken_rules(&make<NeverThaws>, 4 * kSeeds)["freezes"], 4);
}
TEST(Mutants, TakesNormalWorkForBatch_IsCaught) {
  EXPECT_GE(broken_rules(&make<Misreads<take_normal_for_batch>>, 4 * kSeeds)["freezes"], 4);
}

TEST(Mutants, GivesOneTenantsReplicaToAnother_IsCaught) {
  EXPECT_GE(broken_rules(&make<Misreads<share_among_all>>, 4 * kSeeds)["processes"], 4);
}

// One tenant has more calls than can be answered, the other one now and then.
TEST(Mutants, ForgetsTenants_IsCaught) {
  const auto broken = [](Controller& controller, const WorldModel& model) {
    World world(model, {}, controller);
    Checkers checkers(model);
    world.watch(checkers);
    const std::uint32_t function = world.deploy("f");
    for (int i = 0; i < 2'000 && !checkers.violation(); ++i) {
      world.arrive({.function = function, .tenant = 1, .prompt_tokens = 20, .output_tokens = 30});
      if (i % 50 == 0)
        world.arrive({.function = function, .tenant = 2, .prompt_tokens = 20, .output_tokens = 30});
      world.run_until(world.now() + std::chrono::milliseconds(200));
    }
    return checkers.violation() ? checkers.violation()->rule : "";
  };
  WorldModel model = exact();
  model.function.share = domain::Share::Function;
  model.function.scale.max = 1;
  BrainController fair(brain_options(model));
  ForgetsTenants unfair(brain_options(model));
  EXPECT_EQ(broken(fair, model), "");
  EXPECT_EQ(broken(unfair, model), "fairness");
}

}  // namespace
}  // namespace glowplug::simulate
