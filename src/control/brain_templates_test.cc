#include <algorithm>

#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::Phase;
using domain::State;

// A world whose functions fork from templates; the fake engine's template is reserved 16 MiB.
class Templates : public ::testing::Test {
 protected:
  domain::Manifest manifest(const std::string& name, Duration load_time = 20ms) {
    domain::Manifest made = world.manifest(name);
    made.template_use = domain::TemplateUse::On;
    made.engine.fake.load_time = load_time;
    return made;
  }
  std::size_t starts() const { return world.started.size(); }
  const StartProcess& start(std::size_t index) const { return world.started.at(index); }
  void gone(std::size_t index, const std::string& cause, Ending ending = Ending::Itself) {
    world.post(ProcessGone{start(index).process, cause, ending});
  }
  // From nothing to a template and one replica, idle.
  void serve_cold(const std::string& name) {
    const domain::CallId id = world.call(name);
    world.ready(starts() - 1);
    if (world.started.back().role == Role::Replica && !world.granted.empty() &&
        world.granted.back().call == id)
      return world.post(CallEnded{id});
    world.ready(starts() - 1);
    world.post(CallEnded{id});
  }
  bool decided(const std::string& what) const {
    return std::any_of(world.decisions.begin(), world.decisions.end(),
                       [&what](const Decision& one) { return one.decision == what; });
  }

  World world{1000, 250};
};

TEST_F(Templates, FirstCall_LoadsATemplateAndForksFromIt) {
  world.deploy(manifest("f"));
  const domain::CallId id = world.call("f");
  ASSERT_EQ(starts(), 1u);
  EXPECT_EQ(start(0).role, Role::Template);
  EXPECT_EQ(world.state("f"), State::Loading);
  world.now += 500ms;
  world.ready(0);
  ASSERT_EQ(starts(), 2u);
  EXPECT_EQ(start(1).role, Role::Replica);
  EXPECT_EQ(start(1).from, start(0).process);
  world.now += 10ms;
  world.ready(1);
  ASSERT_EQ(world.granted.size(), 1u);
  EXPECT_EQ(world.granted[0].call, id);
  EXPECT_TRUE(world.granted[0].cold);
  EXPECT_EQ(world.granted[0].tier, domain::Tier::Disk);
  EXPECT_EQ(world.granted[0].waited[Phase::Load], Duration(500ms));
  EXPECT_EQ(world.granted[0].waited[Phase::Fork], Duration(10ms));
  EXPECT_EQ(world.granted[0].waited[Phase::Queue], Duration(0));
}

TEST_F(Templates, BothKinds_StartWithLimitsForTheirOwnShare) {
  domain::Manifest made = manifest("f");
  made.resources.memory_bytes = 0;
  world.deploy(made);
  world.call("f");
  world.ready(0);
  ASSERT_EQ(starts(), 2u);
  for (const std::size_t index : {0u, 1u}) {
    EXPECT_TRUE(start(index).limits.memory_bytes) << index;
    EXPECT_EQ(start(index).limits.cpu_cores, start(index).threads + 0.5) << index;
    EXPECT_TRUE(start(index).limits.pids) << index;
  }
}

TEST_F(Templates, NextColdCall_OnlyForks) {
  world.deploy(manifest("f"));
  serve_cold("f");
  world.pass(301s);
  ASSERT_EQ(world.stopped.size(), 1u);
  gone(1, "stopped");
  EXPECT_EQ(world.state("f"), State::Cold);
  EXPECT_EQ(world.brain.function("f")->tier, domain::Tier::Template);
  world.call("f");
  ASSERT_EQ(starts(), 3u);
  EXPECT_EQ(start(2).from, start(0).process);
  world.now += 10ms;
  world.ready(2);
  EXPECT_EQ(world.granted.back().waited[Phase::Load], Duration(0));
  EXPECT_EQ(world.granted.back().waited[Phase::Fork], Duration(10ms));
  EXPECT_EQ(world.granted.back().tier, domain::Tier::Template);
  EXPECT_EQ(world.decisions.back().reason,
            "cold from template: queue 0.0 ms, fork 10.0 ms; replica 3");
}

TEST_F(Templates, FunctionsOfOneModel_ShareIt_OfAnotherDoNot) {
  world.deploy(manifest("a"));
  world.deploy(manifest("b"));
  world.deploy(manifest("other", 30ms));
  serve_cold("a");
  serve_cold("b");
  EXPECT_EQ(starts(), 3u);
  EXPECT_EQ(start(2).from, start(0).process);
  serve_cold("other");
  EXPECT_EQ(start(3).role, Role::Template);
  EXPECT_EQ(world.brain.templates(), 2u);
}

TEST_F(Templates, FiftyFirstCalls_LoadOneTemplateAndOneReplica) {
  world.deploy(manifest("f"));
  for (int i = 0; i < 50; ++i) world.call("f");
  world.ready(0);
  EXPECT_EQ(starts(), 2u);
}

TEST_F(Templates, LoadThatFails_FailsAllWhoWaitForIt) {
  world.deploy(manifest("a"));
  world.deploy(manifest("b"));
  world.deploy(manifest("idle"));
  world.call("a");
  world.call("b");
  gone(0, "the file is damaged");
  ASSERT_EQ(world.refused.size(), 2u);
  EXPECT_NE(world.refused[0].error.message.find("the file is damaged"), std::string::npos);
  EXPECT_EQ(world.state("a"), State::Failed);
  EXPECT_EQ(world.state("idle"), State::Cold);
  EXPECT_EQ(world.brain.reserved_bytes(), 0u);
}

TEST_F(Templates, LoadKilledFromOutside_IsTriedOnceMore) {
  world.deploy(manifest("f"));
  world.call("f");
  gone(0, "killed by signal 9", Ending::Killed);
  EXPECT_TRUE(world.refused.empty());
  ASSERT_EQ(starts(), 2u);
  EXPECT_EQ(start(1).role, Role::Template);
  gone(1, "killed by signal 9", Ending::Killed);
  EXPECT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.state("f"), State::Failed);
}

TEST_F(Templates, ItsDeath_LeavesReplicasAloneAndTheNextStartLoadsAnew) {
  world.deploy(manifest("f"));
  const domain::CallId id = world.call("f");
  world.ready(0);
  world.ready(1);
  gone(0, "killed by signal 9");
  EXPECT_EQ(world.state("f"), State::Ready);
  EXPECT_TRUE(world.stopped.empty());
  world.post(CallEnded{id});
  world.post(StopWanted{"f"});
  gone(1, "stopped");
  world.call("f");
  EXPECT_EQ(start(2).role, Role::Template);
}

TEST_F(Templates, ForkThatFails_IsFollowedByAStartOfItsOwn) {
  world.deploy(manifest("f"));
  world.call("f");
  world.ready(0);
  gone(1, "the template cannot fork: Resource temporarily unavailable");
  EXPECT_TRUE(world.refused.empty());
  ASSERT_EQ(starts(), 3u);
  EXPECT_EQ(start(2).role, Role::Replica);
  EXPECT_FALSE(start(2).from.has_value());
  world.ready(2);
  EXPECT_EQ(world.granted.size(), 1u);
  world.post(StopWanted{"f"});
  gone(2, "stopped");
  world.call("f");
  EXPECT_EQ(start(3).from, start(0).process);  // it is trusted again
}

TEST_F(Templates, StartOfItsOwnThatFailsToo_Refuses) {
  world.deploy(manifest("f"));
  world.call("f");
  world.ready(0);
  gone(1, "the template cannot fork");
  gone(2, "exited with status 1");
  EXPECT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.state("f"), State::Failed);
}

TEST_F(Templates, ThirdDeathOfAReplica_ReplacesTheTemplate) {
  world.deploy(manifest("f"));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(world.killed.empty());
    serve_cold("f");
    gone(starts() - 1, "killed by signal 6");
  }
  ASSERT_EQ(world.killed, std::vector{start(0).process});
  gone(0, "killed");
  world.call("f");
  EXPECT_EQ(world.started.back().role, Role::Template);
}

TEST_F(Templates, DeathInTheMidstOfAnAnswer_CountsHoweverItIsHeardOf) {
  world.deploy(manifest("f"));
  for (std::size_t i = 0; i < 3; ++i) {
    const domain::CallId id = world.call("f");
    if (i == 0) world.ready(0);
    world.ready(starts() - 1);
    world.post(CallEnded{id, CallOutcome::ReplicaBroke});  // the connection tells first
    gone(starts() - 1, "stopped: assertion failed");
  }
  EXPECT_EQ(world.killed, std::vector{start(0).process});
}

TEST_F(Templates, OwnStops_AreNoDeaths) {
  world.deploy(manifest("f"));
  for (int i = 0; i < 5; ++i) {
    serve_cold("f");
    world.post(StopWanted{"f"});
    gone(starts() - 1, "stopped", Ending::Asked);
  }
  EXPECT_TRUE(world.killed.empty());
}

TEST_F(Templates, NobodyUsesIt_Goes) {
  world.deploy(manifest("a"));
  world.deploy(manifest("b"));
  serve_cold("a");
  world.post(FunctionDeleted{"a"});
  EXPECT_TRUE(world.killed.empty());
  world.post(FunctionDeleted{"b"});
  EXPECT_EQ(world.killed, std::vector{start(0).process});
}

TEST_F(Templates, NewRevisionOfAnotherModel_DropsTheOldOneOnceItServes) {
  world.deploy(manifest("f"));
  serve_cold("f");
  world.deploy(manifest("f", 30ms), 2);
  world.call("f");
  const std::size_t next = starts() - 1;
  EXPECT_EQ(start(next).role, Role::Template);
  EXPECT_TRUE(world.killed.empty());
  world.ready(next);
  world.ready(next + 1);
  EXPECT_EQ(world.killed, std::vector{start(0).process});
}

TEST_F(Templates, IdleOnesBeyondTheBudget_GoLeastValuableFirst) {
  World small{1000, 40};  // two of 16 MiB
  for (int i = 1; i <= 3; ++i) {
    domain::Manifest made = small.manifest("f" + std::to_string(i));
    made.template_use = domain::TemplateUse::On;
    made.engine.fake.load_time = i * 1s;
    made.keep_alive = 0s;
    small.deploy(made);
    const domain::CallId id = small.call(made.name);
    small.now += 1s;
    small.ready(small.started.size() - 1);
    small.ready(small.started.size() - 1);
    small.post(CallEnded{id});
    small.post(ProcessGone{small.started.back().process, "stopped"});
    small.now += 60s;
  }
  EXPECT_EQ(small.killed, std::vector{small.started[0].process});
}

TEST_F(Templates, LargerThanTheBudget_StartsWithoutOne) {
  World small{1000, 10};
  domain::Manifest made = small.manifest("f");
  made.template_use = domain::TemplateUse::On;
  small.deploy(made);
  small.call("f");
  EXPECT_EQ(small.started.at(0).role, Role::Replica);
  EXPECT_FALSE(small.started.at(0).from.has_value());
}

TEST_F(Templates, MemoryShort_IdleReplicasGoBeforeTemplates) {
  World small{200, 100};
  domain::Manifest a = small.manifest("a", 60), b = small.manifest("b", 110);
  a.template_use = domain::TemplateUse::On;
  small.deploy(a);
  small.deploy(b);
  const domain::CallId id = small.call("a");
  small.ready(0);
  small.ready(1);
  small.post(CallEnded{id});
  small.call("b");  // 76.8 of 200 MB are taken
  ASSERT_EQ(small.started.size(), 3u);
  small.ready(2);
  small.post(CallEnded{domain::CallId{2}});
  small.deploy(small.manifest("c", 30));
  small.call("c");
  ASSERT_EQ(small.stopped, std::vector{small.started[1].process});
  EXPECT_TRUE(small.killed.empty());
}

TEST_F(Templates, MemoryShort_TemplateGoesWhenReplicasAreNotEnough) {
  World small{200, 100};
  domain::Manifest a = small.manifest("a", 60);
  a.template_use = domain::TemplateUse::On;
  small.deploy(a);
  small.deploy(small.manifest("big", 190));
  const domain::CallId id = small.call("a");
  small.ready(0);
  small.ready(1);
  small.post(CallEnded{id});
  small.call("big");
  EXPECT_EQ(small.stopped, std::vector{small.started[1].process});
  EXPECT_EQ(small.killed, std::vector{small.started[0].process});
  small.post(ProcessGone{small.started[0].process, "killed"});
  small.post(ProcessGone{small.started[1].process, "stopped"});
  EXPECT_EQ(small.started.size(), 3u);
}

TEST_F(Templates, WhileLoading_TheWholeCacheIsReservedAndAllowed) {
  domain::Manifest made = world.manifest("f", 0);
  made.engine.kind = domain::EngineKind::Llama;
  made.context = 8192;
  const domain::ModelFacts facts{
      .path = "/m", .weight_bytes = 94 * kMB, .kv_bytes_per_token = 23'000};
  World large{4000, 1000};
  large.post(FunctionPut{made, 1});
  large.post(ModelPrepared{"f", 1, facts});
  large.call("f");
  const std::uint64_t cache = 23'000ull * 8192 * 4;
  ASSERT_EQ(large.started.at(0).role, Role::Template);
  EXPECT_GE(large.brain.reserved_bytes(), cache + 94 * kMB);
  EXPECT_GE(*large.started[0].limits.memory_bytes, cache + 94 * kMB);
  large.ready(0);
  EXPECT_LT(large.brain.function("f")->template_view->memory_bytes, 94 * kMB + 128 * kMB);
}

TEST_F(Templates, ReplicaThatCannotStandBesideIt_StartsWithoutOne) {
  World small{200, 100};
  domain::Manifest a = small.manifest("a", 60), b = small.manifest("b", 190);
  a.template_use = b.template_use = domain::TemplateUse::On;
  small.deploy(a);
  small.deploy(b);
  const domain::CallId id = small.call("a");
  small.ready(0);
  small.ready(1);
  small.post(CallEnded{id});
  small.call("b");
  small.post(ProcessGone{small.started[1].process, "stopped", Ending::Asked});
  small.post(ProcessGone{small.started[0].process, "killed", Ending::Asked});
  ASSERT_EQ(small.started.size(), 3u);
  EXPECT_FALSE(small.started[2].from.has_value());
}

TEST_F(Templates, KilledOverALimitOfItsOwn_IsNoFaultOfTheTemplate) {
  world.deploy(manifest("f"));
  for (int i = 0; i < 5; ++i) {
    serve_cold("f");
    gone(starts() - 1, "killed by the kernel: over its memory limit", Ending::Killed);
  }
  EXPECT_TRUE(world.killed.empty());
}

TEST_F(Templates, SwitchedOffByARedeploy_Goes) {
  world.deploy(manifest("f"));
  serve_cold("f");
  domain::Manifest off = manifest("f");
  off.template_use = domain::TemplateUse::Off;
  world.post(FunctionPut{off, 2});
  EXPECT_EQ(world.killed, std::vector{start(0).process});
}

TEST_F(Templates, Drain_EndsThem) {
  world.deploy(manifest("f"));
  serve_cold("f");
  world.post(DrainStarted{});
  EXPECT_EQ(world.killed, std::vector{start(0).process});
}

}  // namespace
}  // namespace glowplug::control
