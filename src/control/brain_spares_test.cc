#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::Phase;
using domain::State;

class Spares : public ::testing::Test {
 protected:
  explicit Spares() { deploy("f"); }

  // Without a declared size: a template is reserved 16.8 MB and a replica of it 33.6 MB.
  void deploy(const std::string& name, int threads = 0, int revision = 1) {
    domain::Manifest made = world.manifest(name, 0);
    made.resources.threads = threads;
    made.template_use = domain::TemplateUse::On;
    made.keep_alive = 10s;
    world.deploy(made, revision);
  }
  const StartProcess& start(std::size_t index) const { return world.started.at(index); }
  // A template (0), a replica (1) that has answered one call, and behind it a spare (2).
  void serve_first() {
    const domain::CallId id = world.call("f");
    world.ready(0);
    world.ready(1);
    EXPECT_FALSE(start(1).spare);
    EXPECT_EQ(world.started.size(), 2u);  // the cores answer first
    world.post(CallEnded{id});
    ASSERT_EQ(world.started.size(), 3u);
    EXPECT_TRUE(start(2).ahead);
    EXPECT_TRUE(start(2).spare);
    EXPECT_EQ(start(2).from, start(0).process);
  }
  void to_zero() {
    world.pass(11s);
    world.post(ProcessGone{world.stopped.back(), "stopped", Ending::Asked});
    ASSERT_EQ(world.state("f"), State::Cold);
  }

  World world{1000, 250, 1};
};

TEST_F(Spares, NextColdCall_IsGrantedInTheSameTurn) {
  serve_first();
  world.ready(2);
  to_zero();
  EXPECT_EQ(world.brain.function("f")->tier, domain::Tier::Spare);
  const domain::CallId id = world.call("f");
  ASSERT_EQ(world.granted.back().call, id);
  EXPECT_EQ(world.granted.back().replica, start(2).process);
  EXPECT_TRUE(world.granted.back().cold);
  EXPECT_EQ(world.granted.back().tier, domain::Tier::Spare);
  EXPECT_EQ(world.granted.back().waited.sum(), Duration(0));
  ASSERT_EQ(world.assigned.size(), 1u);
  EXPECT_EQ(world.assigned[0].function, "f");
  EXPECT_EQ(world.brain.function("f")->cold_starts, 2u);
  EXPECT_EQ(world.started.size(), 3u);  // the next spare waits for the answer
  world.post(CallEnded{id});
  EXPECT_EQ(world.started.size(), 4u);
  world.now += 1ms;
  world.call("f");
  EXPECT_FALSE(world.granted.back().cold);
}

TEST_F(Spares, FileIsNotAsItWas_NoCallIsGrantedToIt) {
  serve_first();
  world.ready(2);
  to_zero();
  world.takes_spares = false;
  const domain::CallId id = world.call("f");
  ASSERT_EQ(world.assigned.size(), 1u);
  const std::size_t prepared = world.prepared.size();
  world.post(ModelLost{world.assigned[0].facts.path, "its model file has changed"});
  EXPECT_EQ(world.stopped.back(), start(2).process);
  world.post(ReplicaAssigned{start(2).process});  // too late
  EXPECT_NE(world.granted.back().call, id);
  EXPECT_EQ(world.prepared.size(), prepared + 1) << "the call waits for the file to be read again";
}

TEST_F(Spares, EndsWhileItIsHandedOver_TheCallStartsAnother) {
  serve_first();
  world.ready(2);
  to_zero();
  world.takes_spares = false;
  const domain::CallId id = world.call("f");
  world.post(ProcessGone{start(2).process, "killed", Ending::Killed});
  world.ready(world.started.size() - 1);
  EXPECT_EQ(world.granted.back().call, id);
}

TEST_F(Spares, AnyFunctionOfTheTemplate_TakesIt) {
  deploy("g");
  serve_first();
  world.ready(2);
  const domain::CallId id = world.call("g");
  EXPECT_EQ(world.granted.back().call, id);
  EXPECT_EQ(world.assigned.back().function, "g");
}

TEST_F(Spares, StillLoading_ACallForksForItself) {
  serve_first();
  to_zero();
  world.call("f");
  ASSERT_EQ(world.started.size(), 4u);
  EXPECT_FALSE(start(3).ahead);
}

TEST_F(Spares, BusyCores_MakeItWaitTwoSecondsAtMost) {
  serve_first();
  world.ready(2);
  to_zero();
  world.call("f");
  world.pass(1900ms);
  EXPECT_EQ(world.started.size(), 3u);
  world.pass(200ms);
  ASSERT_EQ(world.started.size(), 4u);
  EXPECT_TRUE(start(3).ahead);
}

TEST_F(Spares, NobodyCalledForAnHour_ItStops) {
  serve_first();
  world.ready(2);
  world.pass(59min);
  EXPECT_NE(world.stopped.back(), start(2).process);
  world.pass(2min);
  EXPECT_EQ(world.stopped.back(), start(2).process);
  world.post(ProcessGone{start(2).process, "stopped", Ending::Asked});
  world.pass(10min);
  EXPECT_EQ(world.started.size(), 3u);
}

TEST_F(Spares, MemoryShort_ItGoesFirst) {
  serve_first();
  world.ready(2);
  world.deploy(world.manifest("big", 940));
  world.call("big");
  EXPECT_EQ(world.stopped, std::vector{start(2).process});
  EXPECT_TRUE(world.killed.empty());
  EXPECT_EQ(world.started.size(), 3u);  // no new one from the memory that others wait for
  world.post(ProcessGone{start(2).process, "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 4u);
  EXPECT_EQ(start(3).manifest.name, "big");
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST_F(Spares, MemoryShortWhileItLoads_ItGoesFirstAllTheSame) {
  serve_first();
  world.deploy(world.manifest("big", 940));
  world.call("big");
  EXPECT_EQ(world.stopped, std::vector{start(2).process});
}

TEST_F(Spares, MadeBesideABusyReplica_HasAllCores) {
  world.deploy(world.manifest("busy", 10));
  serve_first();
  world.ready(2);
  to_zero();
  world.call("busy");
  world.ready(3);
  world.call("f");
  world.pass(3s);
  ASSERT_EQ(world.started.size(), 5u);
  EXPECT_TRUE(start(4).ahead);
  EXPECT_EQ(start(4).threads, 4);
}

TEST_F(Spares, EndedByTheServer_IsNotMadeAgainAtOnce) {
  serve_first();
  world.post(ProcessGone{start(2).process, "no progress while loading for 120 s", Ending::Asked});
  EXPECT_EQ(world.started.size(), 3u);
}

TEST_F(Spares, NoFreeMemory_NoneIsMade) {
  World small{90, 40, 1};
  domain::Manifest made = small.manifest("f", 0);
  made.template_use = domain::TemplateUse::On;
  small.deploy(made);
  const domain::CallId id = small.call("f");
  small.ready(0);
  small.ready(1);
  small.post(CallEnded{id});
  EXPECT_EQ(small.started.size(), 3u);  // 84 of 90 MB
  World smaller{80, 40, 1};
  smaller.deploy(made);
  smaller.call("f");
  smaller.ready(0);
  smaller.ready(1);
  smaller.post(CallEnded{domain::CallId{1}});
  EXPECT_EQ(smaller.started.size(), 2u);
}

TEST_F(Spares, ItsDeath_IsNotFollowedByAnotherAtOnce) {
  serve_first();
  world.post(ProcessGone{start(2).process, "killed by signal 9", Ending::Killed});
  EXPECT_EQ(world.started.size(), 3u);
  EXPECT_EQ(world.state("f"), State::Ready);
  world.pass(59s);
  EXPECT_EQ(world.started.size(), 3u);
  world.pass(2s);
  EXPECT_EQ(world.started.size(), 4u);
}

TEST_F(Spares, TemplateGone_TheyGoWithIt) {
  serve_first();
  world.ready(2);
  world.post(ProcessGone{start(0).process, "killed by signal 9", Ending::Killed});
  EXPECT_EQ(world.stopped, std::vector{start(2).process});
}

TEST_F(Spares, LastFunctionDeleted_TheyGoToo) {
  serve_first();
  world.ready(2);
  world.post(FunctionDeleted{"f"});
  EXPECT_EQ(world.killed, std::vector{start(0).process});
  EXPECT_EQ(world.stopped.size(), 2u);
}

TEST_F(Spares, NewRevisionOfTheSameModel_TakesItAndServes) {
  serve_first();
  world.ready(2);
  deploy("f", 4, 2);  // as many threads as the spare has, the same template
  const domain::CallId id = world.call("f");
  EXPECT_EQ(world.granted.back().call, id);
  EXPECT_EQ(world.brain.function("f")->revision, 2);
}

TEST_F(Spares, FunctionWithLimitsOfItsOwn_Forks) {
  domain::Manifest limited = world.manifest("limited", 50);
  limited.template_use = domain::TemplateUse::On;
  deploy("narrow", 1);
  serve_first();
  world.ready(2);
  world.deploy(limited);
  world.call("limited");
  world.call("narrow");
  ASSERT_EQ(world.started.size(), 5u);
  EXPECT_TRUE(world.assigned.empty());
  EXPECT_EQ(start(4).threads, 1);
}

TEST_F(Spares, Drain_StopsThem) {
  serve_first();
  world.ready(2);
  world.post(DrainStarted{});
  EXPECT_EQ(world.stopped.size(), 2u);
}

TEST_F(Spares, AreShownApart) {
  serve_first();
  const auto view = world.brain.function("f");
  EXPECT_EQ(view->replicas.size(), 1u);
  ASSERT_TRUE(view->template_view.has_value());
  ASSERT_EQ(view->template_view->spares.size(), 1u);
  EXPECT_EQ(view->template_view->spares[0].process, start(2).process);
  EXPECT_EQ(view->template_view->spares[0].memory_bytes, 32u << 20);
}

}  // namespace
}  // namespace glowplug::control
