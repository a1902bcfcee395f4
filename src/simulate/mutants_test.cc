// The checkers are worth something only if they catch a brain that is wrong: some are broken here
// on purpose, between world and brain, and none of them may pass.
#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "simulate/scenario.h"

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

// Does not hear of what the replicas of a function may reserve.
class ForgetsMemoryBudgets final : public Controller {
 public:
  explicit ForgetsMemoryBudgets(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    if (const auto* put = std::get_if<control::FunctionPut>(&event)) {
      control::FunctionPut free = *put;
      free.manifest.scale.budget.memory_bytes = 0;
      return brain_.handle(free, now, wall);
    }
    if (const auto* set = std::get_if<control::TrafficSet>(&event)) {
      control::TrafficSet free = *set;
      for (auto& one : free.served) one.manifest.scale.budget.memory_bytes = 0;
      return brain_.handle(free, now, wall);
    }
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

// Gives a place to whoever came last; who came first waits on.
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
    const domain::CallId first = told_as(granted);
    for (auto& [name, calls] : waiting_) {
      if (!calls.contains(first)) continue;
      const domain::CallId last = *calls.rbegin();
      calls.erase(last);
      if (last != first) {
        const domain::CallId in_brain = known_as(last);
        names_[granted] = last;
        names_[in_brain] = first;
      }
      granted = last;
      return;
    }
    granted = first;
  }

  control::Brain brain_;
  std::map<std::string, std::set<domain::CallId>> waiting_;
  std::map<domain::CallId, domain::CallId> names_;
};

// Does not know which call is tried again, and must have its replica to itself.
class LetsSuspectsShare final : public Controller {
 public:
  explicit LetsSuspectsShare(control::BrainOptions options) : brain_(options) {}
  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    if (const auto* arrived = std::get_if<control::CallArrived>(&event)) {
      control::CallArrived plain = *arrived;
      plain.retry_of.reset();
      return brain_.handle(plain, now, wall);
    }
    return brain_.handle(event, now, wall);
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  control::Brain brain_;
};

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
  EXPECT_GE(broken_rules(&make<ForgetsMemoryBudgets>, 4 * kSeeds)["budgets"], 2);
}

// Where several calls are tried again at once, or others wait beside one.
TEST(Mutants, LetsSuspectsShare_IsCaught) {
  EXPECT_GE(broken_rules(&make<LetsSuspectsShare>, 2 * kSeeds)["processes"], 4);
}

// Not by a seed in which no two calls ever wait for one function.
TEST(Mutants, Starves_IsCaught) { EXPECT_GE(broken_rules(&make<Starves>)["calls"], kSeeds - 2); }

}  // namespace
}  // namespace glowplug::simulate
