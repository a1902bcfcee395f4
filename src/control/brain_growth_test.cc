// What growth by load takes and what it leaves alone: cores, memory, templates, the calls of a
// function whose start fails.
#include "control/test_load.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using domain::State;
using domain::TemplateUse;

class Growing : public LoadScaling {
 protected:
  void fail_last_start() {
    world.post(ProcessGone{world.started.back().process, "out of memory"});
    ready_ = world.started.size();
  }
  domain::Manifest forked(const std::string& name) const {
    domain::Manifest made = small(name);
    made.template_use = TemplateUse::On;
    return made;
  }
  // A template of it and one replica, ready, with so many calls of which one runs.
  void loaded_from_template(const std::string& name, int count) {
    world.deploy(forked(name));
    calls(count, name);
    settle_for(1s);
  }
};

TEST_F(Growing, StartThatFailsBesideOneThatServes_FailsNoCall) {
  domain::Manifest manifest = small();
  manifest.scale.max = 2;
  loaded(manifest, 4);
  world.pass(2s);
  ASSERT_EQ(world.started.size(), 2u);
  fail_last_start();
  EXPECT_TRUE(world.refused.empty());
  EXPECT_EQ(world.state("f"), State::Ready);
  calls(1);
  EXPECT_TRUE(world.refused.empty());
  end(2);
  EXPECT_EQ(world.granted.size(), 3u);
}

TEST_F(Growing, StartThatFails_IsNotTriedAgainAtEachTick) {
  domain::Manifest manifest = small();
  manifest.scale.max = 2;
  loaded(manifest, 4);
  world.pass(2s);
  fail_last_start();
  world.pass(4900ms);
  EXPECT_EQ(world.started.size(), 2u);
  world.pass(2s);
  ASSERT_EQ(world.started.size(), 3u);
  EXPECT_EQ(told("failed").size(), 1u);
  settle_for(2s);
  EXPECT_EQ(live(), 2);
  EXPECT_EQ(world.granted.size(), 2u);
}

TEST_F(Growing, LastOneThatServesDies_CallsWaitForTheNextTryAndNoLonger) {
  domain::Manifest manifest = small();
  manifest.scale.max = 2;
  loaded(manifest, 2);
  world.pass(2s);
  fail_last_start();
  world.post(ProcessGone{world.started[0].process, "crashed"});
  EXPECT_EQ(world.started.size(), 2u);
  EXPECT_TRUE(world.refused.empty());
  world.pass(5s);
  ASSERT_EQ(world.started.size(), 3u);
  fail_last_start();  // nobody serves now
  EXPECT_EQ(world.refused.size(), 1u);
}

TEST_F(Growing, DomainThatNobodyServes_IsToldThatItsStartFailed) {
  domain::Manifest manifest = small();
  world.deploy(manifest);
  calls(1, "f", {.tenant = "", .salt = "a"});
  world.ready(0);
  calls(1, "f", {.tenant = "", .salt = "b"});
  ASSERT_EQ(world.started.size(), 2u);
  fail_last_start();
  EXPECT_EQ(world.refused.size(), 1u);
  calls(1, "f", {.tenant = "", .salt = "b"});
  EXPECT_EQ(world.refused.size(), 2u);
  calls(1, "f", {.tenant = "", .salt = "a"});
  EXPECT_EQ(world.refused.size(), 2u);
}

TEST_F(Growing, TemplateThatDoesNotLoadAgain_FailsNoCall) {
  world.use({.memory_bytes = 1000 * kMB, .template_bytes = 250 * kMB, .cores = 4});
  loaded_from_template("f", 3);
  ASSERT_EQ(world.started.size(), 2u);
  world.post(ProcessGone{world.started[0].process, "crashed"});
  world.pass(2s);
  ASSERT_EQ(world.started.size(), 3u);
  EXPECT_EQ(world.started.back().role, Role::Template);
  fail_last_start();
  EXPECT_TRUE(world.refused.empty());
  world.pass(4900ms);
  EXPECT_EQ(world.started.size(), 3u);
  world.pass(2s);
  EXPECT_EQ(world.started.size(), 4u);
}

TEST_F(Growing, Templates_StayWithWhomTheyAre) {
  world.use({.memory_bytes = 300 * kMB, .template_bytes = 250 * kMB, .spares = 0, .cores = 4});
  domain::Manifest other = forked("other");
  other.context = 4096;
  other.engine.fake.load_time = 33ms;  // a template of its own
  other.keep_alive = Duration(0);
  world.deploy(other);
  calls(1, "other");
  settle_for(2s);
  end(1);
  settle_for(2s);
  ASSERT_EQ(world.brain.templates(), 1u);
  ASSERT_EQ(world.brain.replicas(), 0u);
  loaded_from_template("f", 6);
  settle_for(30s);
  EXPECT_EQ(live(), 2);  // 33 of templates and 200 of 300 MB
  EXPECT_EQ(world.brain.templates(), 2u);
  EXPECT_TRUE(told("drop").empty());
}

TEST_F(Growing, TemplateThatWouldPushAnotherOut_IsNotLoadedForLoad) {
  world.use({.memory_bytes = 1000 * kMB, .template_bytes = 20 * kMB, .cores = 4});
  loaded_from_template("f", 6);
  world.post(ProcessGone{world.started[0].process, "crashed"});
  domain::Manifest other = forked("other");
  other.engine.fake.load_time = 33ms;
  world.deploy(other);
  world.post(PreloadWanted{"other", domain::Tier::Template, kForever});
  world.pass(1ms);
  world.ready(world.started.size() - 1);
  ASSERT_EQ(world.brain.templates(), 1u);
  const std::size_t started = world.started.size();
  world.pass(10s);
  EXPECT_EQ(world.started.size(), started);
  EXPECT_NE(told("scale").back().find("push another out"), std::string::npos);
}

TEST_F(Growing, IdleReplicasOfOthers_TakeNoCoresOwnOnesDo) {
  world.deploy(small("other"));
  world.serve("other");
  ready_ = 1;
  loaded(small(), 1);
  settle_for(4s);
  EXPECT_EQ(live(), 2);
  calls(9);
  settle_for(20s);
  EXPECT_EQ(live(), 4);  // not five, although one idled when they were started
}

TEST_F(Growing, MaxThatFalls_IsHeldAtOnceAndCutsNoCall) {
  domain::Manifest manifest = small();
  manifest.scale.max = 3;
  loaded(manifest, 5);
  settle_for(3s);
  ASSERT_EQ(live(), 3);
  manifest.scale.max = 1;  // a revision that runs alike takes the replicas over
  world.post(FunctionPut{manifest, 2});
  EXPECT_EQ(live(), 1);
  EXPECT_TRUE(world.stopped.empty());  // each has a call
  settle_for(10s);
  EXPECT_EQ(world.granted.size(), 3u);
  end(3);
  EXPECT_EQ(world.stopped.size(), 2u);
  end(1);
  settle_for(1s);
  EXPECT_EQ(world.granted.size(), 5u);
  EXPECT_TRUE(world.refused.empty());
  EXPECT_EQ(live(), 1);
}

TEST_F(Growing, ReplicasOnTheirWay_ReplaceNone) {
  domain::Manifest manifest = small("f", ScalePolicy::Threshold);
  manifest.slots = 64;
  loaded(manifest, 1);
  for (int i = 0; i < 10; ++i) world.post(AnswerBegan{"f", 1, 300ms});
  world.pass(2s);
  ASSERT_EQ(world.started.size(), 3u);
  world.pass(70s);  // still starting, and nothing is slow any more
  EXPECT_TRUE(told("retire").empty());
  EXPECT_EQ(world.state("f"), State::Ready);
}

TEST_F(Growing, IdleOneThatTheLoadWants_OutlivesKeepAliveWhileThereAreCalls) {
  domain::Manifest manifest = small();
  manifest.keep_alive = 1s;
  loaded(manifest, 2);
  settle_for(3s);
  ASSERT_EQ(live(), 3);  // two calls of 0.7 for a replica
  settle_for(30s);
  EXPECT_EQ(live(), 3);
  EXPECT_TRUE(told("stop").empty());
  end(2);
  settle_for(1500ms);
  EXPECT_EQ(live(), 0);
}

TEST_F(Growing, IdleOneOfAQuietDomain_GoesAtKeepAlive) {
  domain::Manifest manifest = small();
  manifest.keep_alive = 5s;
  world.deploy(manifest);
  calls(1, "f", {.tenant = "", .salt = "a"});
  settle_for(1s);
  end(1);
  calls(2, "f", {.tenant = "", .salt = "b"});
  settle_for(4500ms);
  EXPECT_EQ(live(), 3);
  settle_for(1s);
  EXPECT_EQ(told("stop"), std::vector<std::string>{"replica 1: idle for 5.0 s"});
}

TEST_F(Growing, WishThatIsFollowedAndThenIsTooMuch_IsToldBothTimesAndOnce) {
  domain::Manifest manifest = small();
  manifest.keep_alive = kForever;
  world.use({.memory_bytes = 1000 * kMB, .cores = 3});
  loaded(manifest, 1);
  settle_for(4s);
  EXPECT_EQ(told("scale"),
            std::vector<std::string>{"panic: concurrency 1.0, 0.7 for a replica: 2"});
  calls(9);
  settle_for(30s);
  EXPECT_EQ(live(), 3);
  ASSERT_GE(told("scale").size(), 2u);
  EXPECT_NE(told("scale").back().find("each takes 1 of 3 cores"), std::string::npos);
  const std::size_t lines = told("scale").size();
  settle_for(20s);
  EXPECT_EQ(told("scale").size(), lines);
}

TEST_F(Growing, View_SaysWhatWasWishedLastAndWhy) {
  loaded(small("f", ScalePolicy::Threshold), 1);
  EXPECT_FALSE(world.brain.function("f")->scaling.has_value());
  world.pass(2s);
  const auto shown = world.brain.function("f")->scaling;
  ASSERT_TRUE(shown.has_value());
  EXPECT_EQ(shown->policy, ScalePolicy::Threshold);
  EXPECT_EQ(shown->wanted, 0);
  EXPECT_EQ(shown->reason, "0 wait, under 5: 0");
  end(1);
  settle_for(70s);
  EXPECT_FALSE(world.brain.function("f")->scaling.has_value());  // of long ago
}

TEST_F(Growing, FasterClock_TicksAndForgetsSooner) {
  world.use({.memory_bytes = 1000 * kMB, .cores = 4, .scale_speed = 100});
  loaded(small(), 2);
  world.pass(19ms);
  EXPECT_EQ(world.started.size(), 1u);
  world.pass(1ms);
  EXPECT_EQ(world.started.size(), 3u);
  settle_for(1s);
  EXPECT_EQ(live(), 3);
  end(1);
  settle_for(1500ms);  // a window is 0.6 s
  EXPECT_EQ(live(), 2);
  EXPECT_LT(world.calls, 10u);
}

TEST_F(Growing, ManyFunctions_AreAskedOnlyWhileTheyHaveLoad) {
  domain::Manifest manifest = small();
  manifest.slots = 4;
  for (int i = 0; i < 100; ++i) {
    manifest.name = "f" + std::to_string(i);
    manifest.resources.memory_bytes = kMB;
    world.deploy(manifest);
  }
  calls(1, "f7");
  world.ready(0);
  world.pass(2s);
  world.brain.each_function([](const FunctionView& view) {
    EXPECT_EQ(view.scaling.has_value(), view.manifest.name == "f7");
  });
}

}  // namespace
}  // namespace glowplug::control
