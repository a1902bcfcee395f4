// Replicas that die of their calls, played in a simulated world: all calls of a function, a request
// among others, a replica with many calls. And the same with a brain that is broken on purpose:
// what the tests ask for does not hold then.
#include <algorithm>
#include <map>
#include <memory>

#include "domain/errors.h"
#include "simulate/seconds.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

// Takes each crash for a kill from outside.
void see_no_crash(control::Event& event) {
  if (auto* gone = std::get_if<control::ProcessGone>(&event))
    gone->ending = control::Ending::Killed;
}
using SeesNoCrash = Mishears<see_no_crash>;

// A world with a brain, and what came of it.
struct Play {
  template <typename Brain>
  static std::unique_ptr<Play> with(const WorldModel& model) {
    auto play = std::make_unique<Play>();
    play->controller = std::make_unique<Brain>(brain_options(model));
    play->world = std::make_unique<World>(model, WorldOptions{}, *play->controller);
    play->checkers = std::make_unique<Checkers>(model);
    play->world->watch(play->ends);
    play->world->watch(play->starts);
    play->world->watch(*play->checkers);
    return play;
  }
  void call(std::uint32_t function, int output = 10) {
    world->arrive({.function = function, .prompt_tokens = 20, .output_tokens = output});
  }
  void pass_by(Duration by) { world->run_until(world->now() + by); }
  // A function with a replica; its first answer is not among the results.
  std::uint32_t serving() {
    const std::uint32_t function = world->deploy("f");
    answer(function);
    ends.results.clear();
    return function;
  }
  const CallResult& answer(std::uint32_t function) {
    call(function);
    settle(*world, world->now() + 30min);
    return ends.results.back();
  }
  // Of one function's calls.
  std::size_t count(std::uint32_t function, CallOutcome outcome,
                    std::string_view error = "") const {
    return static_cast<std::size_t>(
        std::count_if(ends.results.begin(), ends.results.end(), [&](const CallResult& one) {
          return one.function == function && one.outcome == outcome && one.error == error;
        }));
  }

  std::unique_ptr<Controller> controller;
  std::unique_ptr<World> world;
  std::unique_ptr<Checkers> checkers;
  Ends ends;
  StartCount starts;
};

// --- all calls of a function kill (fault 12, while it serves) ---

constexpr int kStartsMost = 60;

// Ten calls a second for five minutes, beside a neighbour that is called once a second.
template <typename Brain>
std::unique_ptr<Play> play_crash_loop() {
  auto play = Play::with<Brain>(exact());
  const std::uint32_t broken = play->world->deploy("broken"), sound = play->world->deploy("sound");
  play->answer(broken);
  play->answer(sound);
  play->world->set_deadly(broken, true);
  play->ends.results.clear();
  for (int i = 0; i < 3000; ++i) {
    play->call(broken);
    if (i % 10 == 0) play->call(sound);
    play->pass_by(100ms);
  }
  return play;
}

TEST(Crashes, AllCallsKill_StartsSeldomRefusesAtOnceAndComesBackByItself) {
  const auto play = play_crash_loop<BrainController>();
  const std::uint32_t broken = *play->world->find("broken"), sound = *play->world->find("sound");
  EXPECT_LE(play->starts.of["broken"], kStartsMost);
  EXPECT_GE(play->starts.of["broken"], 8);  // it is tried again
  EXPECT_GE(play->starts.retry_after_most, 10);
  EXPECT_LE(play->starts.retry_after_most, 60);
  EXPECT_EQ(play->count(sound, CallOutcome::Answered), 300u);
  EXPECT_EQ(play->count(broken, CallOutcome::Answered), 0u);
  EXPECT_GE(play->count(broken, CallOutcome::Refused, domain::error::kFunctionFailed), 2900u);
  for (const CallResult& result : play->ends.results)
    EXPECT_LE(result.ended - result.arrived, result.function == sound ? 2s : 1s);
  play->world->set_deadly(broken, false);
  play->pass_by(65s);
  EXPECT_EQ(play->answer(broken).outcome, CallOutcome::Answered);
  for (int i = 0; i < 20; ++i) play->call(broken);
  settle(*play->world, play->world->now() + 1min);
  EXPECT_EQ(play->count(broken, CallOutcome::Answered), 21u);
  EXPECT_FALSE(play->checkers->violation()) << play->checkers->violation()->what;
}

TEST(Crashes, AllCallsKill_ABrainThatSeesNoCrashIsFoundOut) {
  const auto play = play_crash_loop<SeesNoCrash>();
  EXPECT_GT(play->starts.of["broken"], 10 * kStartsMost);
}

// --- a request kills (fault 58) ---

// A call a second for five minutes; each tenth kills.
template <typename Brain>
std::unique_ptr<Play> play_poison(int slots) {
  WorldModel model = exact();
  model.function.slots = slots;
  auto play = Play::with<Brain>(model);
  const std::uint32_t function = play->serving();
  for (int second = 0; second < 300; ++second) {
    if (second % 10 == 5) play->world->poison(function, 1);
    play->call(function, 40);
    play->pass_by(1s);
  }
  settle(*play->world, play->world->now() + 1min);
  return play;
}

class Poison : public ::testing::TestWithParam<int> {};

TEST_P(Poison, EachTenthRequestKills_IsToldSoAndTheOthersAreAnswered) {
  const auto play = play_poison<BrainController>(GetParam());
  EXPECT_EQ(play->count(0, CallOutcome::Broken, domain::error::kPoisonousRequest), 30u);
  EXPECT_EQ(play->count(0, CallOutcome::Answered), 270u);
  EXPECT_EQ(play->controller->brain().function("f")->state, domain::State::Ready);
  EXPECT_FALSE(play->checkers->violation()) << play->checkers->violation()->what;
}

TEST_P(Poison, EachTenthRequestKills_ABrainThatKnowsNoRetryIsFoundOut) {
  const auto play = play_poison<KnowsNoRetry>(GetParam());
  EXPECT_EQ(play->count(0, CallOutcome::Broken, domain::error::kPoisonousRequest), 0u);
  EXPECT_LT(play->count(0, CallOutcome::Answered), 270u);  // they are held against the function
}

INSTANTIATE_TEST_SUITE_P(Slots, Poison, ::testing::Values(1, 4));

// One of those that run together kills: only that one is told so.
TEST(Crashes, KillerAmongOthers_IsToldApartFromThem) {
  WorldModel model = exact();
  model.function.slots = 8;
  const auto play = Play::with<BrainController>(model);
  const std::uint32_t function = play->serving();
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 6; ++i) {
      if (i == 3) play->world->poison(function, 1);
      play->call(function, 20);
    }
    play->pass_by(60s);  // retries are one in ten calls, and a few more as time goes by
  }
  EXPECT_EQ(play->count(function, CallOutcome::Broken, domain::error::kPoisonousRequest), 20u);
  EXPECT_EQ(play->count(function, CallOutcome::Answered), 100u);
  EXPECT_FALSE(play->checkers->violation()) << play->checkers->violation()->what;
}

// --- retries ---

// Replicas that are killed from outside are nobody's fault; what is tried again is bounded.
TEST(Crashes, RetriesOfAStorm_AreATenthOfTheCalls) {
  WorldModel model = exact();
  model.function.slots = 8;
  const auto play = Play::with<BrainController>(model);
  const std::uint32_t function = play->serving();
  constexpr int kCalls = 2000;
  for (int i = 0; i < kCalls; ++i) {
    play->call(function, 30);
    play->pass_by(20ms);
    if (i % 5 != 4) continue;
    for (const domain::ProcessId one : play->world->processes(World::Kind::Replica))
      play->world->crash(one, World::Death::Killed, "killed by signal 9 (Killed)");
  }
  settle(*play->world, play->world->now() + 5min);
  EXPECT_EQ(play->ends.results.size(), static_cast<std::size_t>(kCalls));
  const std::size_t refused =
      play->count(function, CallOutcome::Refused, domain::error::kReplicaFailed);
  EXPECT_GT(refused, 0u);
  EXPECT_LE(play->starts.retries, kCalls / 10 + 10 + 5);
  EXPECT_GE(play->starts.retries, kCalls / 15);
  EXPECT_EQ(play->count(function, CallOutcome::Refused, domain::error::kFunctionFailed), 0u);
  EXPECT_FALSE(play->checkers->violation()) << play->checkers->violation()->what;
}

}  // namespace
}  // namespace glowplug::simulate
