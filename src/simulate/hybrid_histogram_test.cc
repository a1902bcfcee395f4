#include "simulate/hybrid_histogram.h"

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

IdlePlan after(std::initializer_list<std::pair<int, Duration>> idle_times) {
  IdleTimes times;
  for (const auto& [count, idle] : idle_times)
    for (int i = 0; i < count; ++i) times.note(idle);
  return times.plan();
}

TEST(HybridHistogram, FewIdleTimes_AreKeptThroughTheRange) {
  EXPECT_EQ(after({{9, 3min}}), (IdlePlan{.keep = 4h}));
}

TEST(HybridHistogram, SteadyPeriod_GoesAtOnceAndComesBackBeforeIt) {
  // All in bin 30: head 30 min, tail 31 min.
  EXPECT_EQ(after({{10, 30min + 5s}}), (IdlePlan{.back = 27min, .hold = 34min + 6s - 27min}));
}

TEST(HybridHistogram, BusyFunction_StaysUntilItsTail) {
  // The 5th percentile lies in the first bin, the 99th in bin 7.
  EXPECT_EQ(after({{90, 5s}, {10, 7min}}), (IdlePlan{.keep = 8min + 48s}));
}

TEST(HybridHistogram, IdleTimesAlikeInAllBins_SayNothing) {
  IdleTimes times;
  for (int i = 0; i < 240; ++i) times.note(1min * i);
  EXPECT_EQ(times.plan(), (IdlePlan{.keep = 4h}));
}

TEST(HybridHistogram, MostlyBeyondTheRange_GoesByTheLastTen) {
  const IdlePlan plan = after({{1, 1min}, {11, 10h}});
  EXPECT_EQ(plan, (IdlePlan{.back = 8h + 30min, .hold = 3h}));
}

// Calls of a timer every 40 minutes: after ten of them the replica is there when they come, and
// held for a few minutes of each period.
TEST(HybridHistogram, InAWorld_WarmsAheadOfATimer) {
  WorldModel model;
  model.function.template_use = domain::TemplateUse::Off;
  model.machine.spares = 0;
  BrainController controller(brain_options(model));
  HybridHistogram* rule = nullptr;
  World world(
      model, {.keep_alive = [&rule](std::uint32_t function) { return rule->keep_alive(function); }},
      controller);
  HybridHistogram histogram(world);
  rule = &histogram;
  world.watch(histogram);
  struct Cold final : public Observer {
    void call_ended(const CallResult& result) override { calls.push_back(result.cold); }
    std::vector<bool> calls;
  } cold;
  world.watch(cold);
  const std::uint32_t function = world.deploy("f");
  for (int i = 0; i < 30; ++i) {
    world.arrive({.function = function, .prompt_tokens = 20, .output_tokens = 5});
    world.run_until(world.now() + 40min + 30s);
  }
  ASSERT_EQ(cold.calls.size(), 30u);
  EXPECT_EQ(std::count(cold.calls.begin() + 12, cold.calls.end(), true), 0);
}

}  // namespace
}  // namespace glowplug::simulate
