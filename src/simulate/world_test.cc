#include "simulate/world.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "domain/errors.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

using WorldTest = WatchedWorld;

TEST_F(WorldTest, FirstCall_LoadsATemplateAndForks) {
  make(exact());
  const std::uint32_t function = world->deploy("f");
  const CallResult& first = answer(function);
  EXPECT_EQ(first.outcome, CallOutcome::Answered);
  EXPECT_TRUE(first.cold);
  EXPECT_EQ(first.tier, domain::Tier::Memory);
  // 115 ms and 98 MB at 1.45 s/GB, and 4.6 ms for the fork.
  EXPECT_NEAR(to_ms(first.start_wait), 115 + 142.1 + 4.6, 0.1);
  // 20 tokens at 195/s, 7.3 ms of page faults, 0.6 of the gateway.
  EXPECT_NEAR(to_ms(*first.first_token - *first.granted), 102.6 + 7.3 + 0.6, 0.1);
  EXPECT_NEAR(to_ms(first.ended - *first.first_token), 9 * 10.49 - 0.6, 0.1);
}

TEST_F(WorldTest, SecondCall_IsWarm_AndTheNextFromZeroForks) {
  WorldModel model = exact();
  model.machine.spares = 0;
  model.function.keep_alive = 10s;
  make(model);
  const std::uint32_t function = world->deploy("f");
  answer(function);
  EXPECT_FALSE(answer(function).cold);
  world->run_until(world->now() + 30s);
  const CallResult& again = answer(function);
  EXPECT_EQ(again.tier, domain::Tier::Template);
  EXPECT_NEAR(to_ms(again.start_wait), 4.6, 0.01);
}

TEST_F(WorldTest, Spare_IsHandedOver) {
  WorldModel model = exact();
  model.function.keep_alive = 10s;
  make(model);
  const std::uint32_t function = world->deploy("f");
  answer(function);
  world->run_until(world->now() + 30s);
  EXPECT_EQ(answer(function).tier, domain::Tier::Spare);
}

TEST_F(WorldTest, BudgetOfAllForOneReplica_FunctionsTakeTurns_AndASpareCountsOnceItServes) {
  WorldModel model = exact();
  model.files = ModelFiles::Shared;
  model.machine.budget_per_hour = {50'000};
  model.function.keep_alive = kForever;
  make(model);
  const std::uint32_t first = world->deploy("a"), second = world->deploy("b");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(answer(first).outcome, CallOutcome::Answered);
    pass_by(10s);
    EXPECT_EQ(answer(second).outcome, CallOutcome::Answered);
    pass_by(10s);
  }
  call(first);
  call(second);
  settle_all();
  for (const CallResult& one : ends.results) EXPECT_EQ(one.outcome, CallOutcome::Answered);
}

TEST_F(WorldTest, FileOutsideThePageCache_IsReadFromTheDisk) {
  WorldModel model = exact();
  model.machine.page_cache_bytes = 0;
  make(model);
  const CallResult& first = answer(world->deploy("f"));
  EXPECT_EQ(first.tier, domain::Tier::Disk);
  EXPECT_NEAR(to_ms(first.start_wait), 115 + 142.1 + 4.6 + 98.0 / 1.035, 0.1);
}

TEST_F(WorldTest, PromptBeyondTheContext_IsCut) {
  WorldModel model = exact();
  model.function.context = 512;
  make(model);
  const CallResult& cut = answer(world->deploy("f"), 100'000, 100'000);
  EXPECT_TRUE(cut.clamped);
  EXPECT_LE(cut.prompt_tokens + cut.output_tokens, 512);
}

TEST_F(WorldTest, CrashWhileItAnswers_BreaksTheCallAndTheNextStartsAnew) {
  make(exact());
  const std::uint32_t function = world->deploy("f");
  answer(function);
  call(function, 20, 500);
  world->run_until(world->now() + 1s);
  const auto replicas = world->processes(World::Kind::Replica);
  ASSERT_FALSE(replicas.empty());
  EXPECT_TRUE(world->crash(replicas.front(), World::Death::Itself, "crashed"));
  EXPECT_EQ(ends.results.back().outcome, CallOutcome::Broken);
  EXPECT_EQ(answer(function).outcome, CallOutcome::Answered);
}

TEST_F(WorldTest, StartsThatFail_AreRefusedThenServedAgain) {
  WorldModel model = exact();
  model.function.template_use = domain::TemplateUse::Off;
  make(model);
  const std::uint32_t function = world->deploy("f");
  world->fail_starts(function, 1);
  EXPECT_EQ(answer(function).error, domain::error::kFunctionFailed);
  world->run_until(world->now() + 6s);
  EXPECT_EQ(answer(function).outcome, CallOutcome::Answered);
}

TEST_F(WorldTest, StalledReplica_TimesItsCallsOut) {
  WorldModel model = exact();
  model.function.limits.timeout = 30s;
  make(model);
  const std::uint32_t function = world->deploy("f");
  answer(function);
  call(function);
  call(function);
  world->stall(world->processes(World::Kind::Replica).front(), 60s);
  settle(*world, world->now() + 10min);
  EXPECT_EQ(ends.results.back().outcome, CallOutcome::TimedOut);
  EXPECT_EQ(to_seconds(ends.results.back().ended - *ends.results.back().granted), 30);
}

// Each that times out lets the next one in, which must time out as well.
TEST_F(WorldTest, StalledReplica_TimesOutThoseToo_ThatWaitedForItsSlot) {
  WorldModel model = exact();
  model.function.slots = 1;
  model.function.scale.max = 1;
  model.function.limits.timeout = 10s;
  make(model);
  const std::uint32_t function = world->deploy("f");
  answer(function);
  world->stall(world->processes(World::Kind::Replica).front(), 1h);
  for (int i = 0; i < 4; ++i) call(function);
  settle(*world, world->now() + 10min);
  ASSERT_EQ(ends.results.size(), 5u);
  for (std::size_t i = 1; i < 5; ++i)
    EXPECT_EQ(ends.results[i].outcome, CallOutcome::TimedOut) << i;
}

TEST_F(WorldTest, LostWordOfAFork_IsNoticedAfterItsLimit) {
  WorldModel model = exact();
  model.function.keep_alive = 1s;
  model.machine.spares = 0;
  make(model);
  const std::uint32_t function = world->deploy("f");
  answer(function);
  world->run_until(world->now() + 10s);
  world->set_post({.lost = 1});
  call(function);
  world->run_until(world->now() + 1s);
  world->set_post({});
  settle(*world, world->now() + 1min);
  EXPECT_EQ(ends.results.back().outcome, CallOutcome::Answered);
  EXPECT_GE(*ends.results.back().granted - ends.results.back().arrived, 5s);
}

TEST_F(WorldTest, CallerWithoutPatience_Leaves) {
  make(exact(), {.leave_chance = 1, .patience = 1ms});
  const std::uint32_t function = world->deploy("f");
  EXPECT_EQ(answer(function).outcome, CallOutcome::Left);
}

TEST_F(WorldTest, NothingIsLeftAfterADrain) {
  make(exact());
  const std::uint32_t function = world->deploy("f");
  answer(function);
  EXPECT_GT(world->process_count(), 0u);
  world->post(control::DrainStarted{});
  world->run_until(world->now() + 1s);
  EXPECT_EQ(world->process_count(), 0u);
  EXPECT_EQ(answer(function).error, domain::error::kShuttingDown);
}

// How long a replica stays after its last call, as the function says it or the call itself.
struct KeptFor {
  const char* function;
  const char* call;  // null: it says nothing
  Duration stays{};
};
class KeepAlives : public WatchedWorld, public ::testing::WithParamInterface<KeptFor> {};

TEST_P(KeepAlives, ReplicaStaysSoLong_AndACallsOwnGoesBefore) {
  const KeptFor& kept = GetParam();
  WorldModel model = exact();
  model.function.keep_alive = *parse_duration(kept.function);
  model.function.template_use = domain::TemplateUse::Off;
  WorldOptions options;
  if (kept.call != nullptr)
    options.keep_alive = [said = *parse_duration(kept.call)](std::uint32_t) { return said; };
  make(model, std::move(options));
  const std::uint32_t function = world->deploy("f");
  for (int i = 0; i < 2; ++i) {  // the second call begins it anew
    answer(function);
    if (kept.stays > 2s) pass_by(std::min<Duration>(kept.stays, 24h) - 1s);
    if (kept.stays > 0s) { EXPECT_EQ(world->process_count(), 1u); }
  }
  pass_by(2s);
  EXPECT_EQ(world->process_count(), kept.stays == kForever ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(WorldTest, KeepAlives,
                         ::testing::Values(KeptFor{"10m", nullptr, 10min},
                                           KeptFor{"30", nullptr, 30s}, KeptFor{"0", nullptr, 0s},
                                           KeptFor{"-1", nullptr, kForever},
                                           KeptFor{"30", "10m", 10min}, KeptFor{"-1", "30", 30s},
                                           KeptFor{"10m", "0", 0s}, KeptFor{"0", "-1", kForever}));

}  // namespace
}  // namespace glowplug::simulate
