// A brain looks only at functions that stir. Beside it stands one that looks at all of them in each
// turn: whatever a world does, the two want the same.
#include <gtest/gtest.h>

#include "control/decision_log.h"
#include "simulate/scenario.h"

namespace glowplug::simulate {
namespace {

// And one where a forecast wanted a sleeper awake that nobody looked at.
constexpr std::uint64_t kSeeds[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 160};

class Both final : public Controller {
 public:
  explicit Both(control::BrainOptions options) : brain_(options), restless_(restless(options)) {}

  control::Effects handle(const control::Event& event, Time now, WallTime wall) override {
    control::Effects effects = brain_.handle(event, now, wall);
    const control::Effects others = restless_.handle(event, now, wall);
    const std::string decided = log_.turn(event, now, wall, timeless(effects), brain_);
    const std::string other = other_log_.turn(event, now, wall, timeless(others), restless_);
    if (!differs_ && (decided != other || !alike(effects.wake_at, others.wake_at, now))) {
      differs_ = true;
      ADD_FAILURE() << "resting:  " << decided << "restless: " << other
                    << "wakes: " << after(effects.wake_at, now) << " and "
                    << after(others.wake_at, now);
    }
    return effects;
  }
  const control::Brain& brain() const override { return brain_; }

 private:
  static control::BrainOptions restless(control::BrainOptions options) {
    options.rests = false;
    return options;
  }

  // A schedule's wake-up is worked out from a wall clock of milliseconds, anew in each turn that
  // looks at it: so much may lie between the two, and one that is nearer than that may be over for
  // whoever looks anew.
  static bool alike(const std::optional<Time>& rests, const std::optional<Time>& looks, Time now) {
    constexpr auto kTick = std::chrono::milliseconds(1);
    if (rests && *rests <= now + kTick) return true;
    if (!rests || !looks) return rests == looks;
    return std::chrono::abs(*rests - *looks) <= kTick;
  }
  static std::string after(const std::optional<Time>& at, Time now) {
    return at ? std::to_string((*at - now).count()) + " ns" : "never";
  }
  static control::Effects timeless(control::Effects effects) {
    effects.wake_at.reset();
    return effects;
  }

  control::Brain brain_, restless_;
  control::DecisionLog log_, other_log_;
  bool differs_ = false;  // told once: what follows is another story
};

TEST(Resting, ChangesNothingButTime) {
  for (const std::uint64_t seed : kSeeds) {
    SCOPED_TRACE(seed);
    const ScenarioResult result = run_scenario(
        {.seed = seed, .make_controller = [](control::BrainOptions options) {
           return std::unique_ptr<Controller>(std::make_unique<Both>(std::move(options)));
         }});
    EXPECT_FALSE(result.violation);
  }
}

}  // namespace
}  // namespace glowplug::simulate
