#include "control/brain.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

using namespace std::chrono_literals;
using domain::CallId;
using domain::ReplicaId;
using domain::State;

constexpr std::uint64_t kMB = 1'000'000;

// Drives a Brain as the live driver does and keeps what it asked for.
class World {
 public:
  explicit World(std::uint64_t memory_mb = 1000)
      : brain({.memory_bytes = memory_mb * kMB, .cores = 4}) {}

  void post(const Event& event) {
    last = brain.handle(event, now);
    for (const Effect& effect : last.list)
      std::visit([this](const auto& one) { keep(one); }, effect);
  }
  // Lets time pass as a timer would: ticks at every wake-up until `by` is over.
  void pass(Duration by) {
    const Time end = now + by;
    while (last.wake_at && *last.wake_at <= end) {
      now = std::max(now, *last.wake_at);
      post(Tick{});
    }
    now = end;
  }

  domain::Manifest manifest(const std::string& name, std::uint64_t memory_mb = 100) const {
    domain::Manifest made;
    made.name = name;
    made.engine.kind = domain::EngineKind::Fake;
    made.resources.memory_bytes = memory_mb * kMB;
    return made;
  }
  void deploy(const domain::Manifest& made, int revision = 1) {
    post(FunctionPut{made, revision});
    post(ModelPrepared{made.name, revision, {}});
  }
  CallId call(const std::string& name, int weight = 1, std::optional<Duration> keep_alive = {}) {
    const CallId id{++calls};
    post(CallArrived{id, name, weight, now + 3600s, keep_alive});
    return id;
  }
  void ready(std::size_t started_index) { post(ReplicaReady{started.at(started_index).replica}); }
  // One call from zero, answered.
  void serve(const std::string& name) {
    const CallId id = call(name);
    ready(started.size() - 1);
    post(CallEnded{id});
  }
  State state(const std::string& name) const { return brain.function(name)->state; }

  void keep(const PrepareModel& one) { prepared.push_back(one); }
  void keep(const StartReplica& one) { started.push_back(one); }
  void keep(const StopReplica& one) { stopped.push_back(one.replica); }
  void keep(const GrantCall& one) { granted.push_back(one); }
  void keep(const RefuseCall& one) { refused.push_back(one); }
  void keep(const Decision& one) { decisions.push_back(one); }

  Brain brain;
  Time now{1000s};
  Effects last;
  std::uint64_t calls = 0;
  std::vector<PrepareModel> prepared;
  std::vector<StartReplica> started;
  std::vector<ReplicaId> stopped;
  std::vector<GrantCall> granted;
  std::vector<RefuseCall> refused;
  std::vector<Decision> decisions;
};

TEST(Deploy, FetchesTheModelAndStartsNothing) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  EXPECT_EQ(world.prepared.size(), 1u);
  EXPECT_EQ(world.state("f"), State::Loading);
  world.post(ModelPrepared{"f", 1, {}});
  EXPECT_EQ(world.state("f"), State::Cold);
  EXPECT_TRUE(world.started.empty());
}

TEST(BrokenReplica_CallsStillOnIt, ReplacementGetsAllCores) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId first = world.call("f");
  world.call("f");
  world.ready(0);
  world.post(CallEnded{first, CallOutcome::ReplicaBroke});
  world.call("f");
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].threads, 4);
}

TEST(ColdFunction_FiftyFirstCalls, StartOneReplicaAndAllAreServed) {
  World world;
  world.deploy(world.manifest("f"));
  std::vector<CallId> ids;
  for (int i = 0; i < 50; ++i) ids.push_back(world.call("f"));
  EXPECT_EQ(world.started.size(), 1u);
  world.now += 300ms;
  world.ready(0);
  EXPECT_EQ(world.granted.size(), 4u);  // its slots
  for (std::size_t i = 0; i < ids.size(); ++i) world.post(CallEnded{ids[i]});
  EXPECT_EQ(world.granted.size(), 50u);
  EXPECT_EQ(world.started.size(), 1u);
  EXPECT_TRUE(world.granted.front().cold);
  EXPECT_EQ(world.granted.front().loaded, Duration(300ms));
  EXPECT_EQ(world.granted.front().queued, Duration(0));
}

TEST(WarmFunction, NextCallIsGrantedAtOnceAndNotCold) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId first = world.call("f");
  world.ready(0);
  world.post(CallEnded{first});
  world.call("f");
  ASSERT_EQ(world.granted.size(), 2u);
  EXPECT_FALSE(world.granted[1].cold);
}

TEST(IdleReplica, StopsAfterKeepAliveAndNotBefore) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId id = world.call("f", 1, 10s);
  world.ready(0);
  world.pass(3600s);  // in flight: never cut
  EXPECT_TRUE(world.stopped.empty());
  world.post(CallEnded{id});
  world.pass(9s);
  EXPECT_TRUE(world.stopped.empty());
  world.pass(1s);
  EXPECT_EQ(world.stopped.size(), 1u);
  world.post(ReplicaGone{world.stopped[0], "stopped"});
  EXPECT_EQ(world.state("f"), State::Cold);
  EXPECT_EQ(world.brain.reserved_bytes(), 0u);
}

TEST(KeepAlive, ZeroStopsAtOnceAndForeverNever) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId id = world.call("f", 1, kForever);
  world.ready(0);
  world.post(CallEnded{id});
  world.pass(100h);
  EXPECT_TRUE(world.stopped.empty());
  const CallId last = world.call("f", 1, Duration(0));
  world.post(CallEnded{last});
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST(QueueTimeout, RefusesWithRetryAfterAndLeavesNothing) {
  World world;
  auto manifest = world.manifest("f");
  manifest.limits.queue_timeout = 5s;
  world.deploy(manifest);
  world.call("f");
  world.pass(5s);
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, "server_is_overloaded");
  EXPECT_GE(world.refused[0].retry_after_s, 1);
  EXPECT_EQ(world.brain.function("f")->waiting, 0);
}

TEST(QueueFull, RefusesTheNextCall) {
  World world;
  auto manifest = world.manifest("f");
  manifest.limits.queue = 2;
  world.deploy(manifest);
  for (int i = 0; i < 3; ++i) world.call("f");
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, "queue_full");
}

TEST(FailedStart, RefusesWaitersAndIsRememberedForSeconds) {
  World world;
  world.deploy(world.manifest("f"));
  world.call("f");
  world.call("f");
  world.post(ReplicaGone{world.started[0].replica, "exited with status 3"});
  EXPECT_EQ(world.refused.size(), 2u);
  EXPECT_EQ(world.state("f"), State::Failed);
  world.call("f");
  EXPECT_EQ(world.refused.size(), 3u);
  EXPECT_EQ(world.started.size(), 1u);  // no storm of loads
  world.now += domain::kFailureRemembered;
  world.call("f");
  EXPECT_EQ(world.started.size(), 2u);
}

TEST(CrashWhileServing, NextCallStartsAnother) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId id = world.call("f");
  world.ready(0);
  world.post(ReplicaGone{world.started[0].replica, "killed by signal 9"});
  world.post(CallEnded{id});
  world.call("f");
  EXPECT_EQ(world.started.size(), 2u);
}

TEST(BrokenAnswer, ItsReplicaGetsNoNewCallsAndTheNextCallStartsAnother) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId id = world.call("f");
  world.ready(0);
  world.post(CallEnded{id, CallOutcome::ReplicaBroke});
  EXPECT_EQ(world.stopped, std::vector{world.started[0].replica});
  world.call("f");
  EXPECT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.granted.size(), 1u);
}

TEST(ModelUnavailable, RefusesAndTheNextCallTriesAgain) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  world.call("f");
  world.post(ModelUnavailable{"f", 1, {"source_unreachable", "no route", ""}});
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, "source_unreachable");
  world.now += domain::kFailureRemembered;
  world.call("f");
  EXPECT_EQ(world.prepared.size(), 2u);
}

TEST(Memory, IdleLeastRecentlyUsedMakesRoom) {
  World world(250);
  for (const char* name : {"a", "b"}) {
    world.deploy(world.manifest(name));
    world.serve(name);
    world.now += 1s;
  }
  world.deploy(world.manifest("c"));
  world.call("c");
  ASSERT_EQ(world.stopped.size(), 1u);
  EXPECT_EQ(world.stopped[0], world.started[0].replica);  // a's
  EXPECT_EQ(world.started.size(), 2u);
  world.post(ReplicaGone{world.stopped[0], "stopped"});
  EXPECT_EQ(world.started.size(), 3u);
  EXPECT_LE(world.brain.reserved_bytes(), 250 * kMB);
}

TEST(Memory, BusyReplicaIsNeverCutButYieldsItsTurn) {
  World world(150);
  world.deploy(world.manifest("a"));
  world.deploy(world.manifest("b"));
  const CallId running = world.call("a");
  world.ready(0);
  world.call("b");
  world.pass(1s);
  EXPECT_TRUE(world.stopped.empty());
  world.pass(1s);  // patience over: a gets no new calls
  world.call("a");
  EXPECT_EQ(world.granted.size(), 1u);
  EXPECT_TRUE(world.stopped.empty());
  world.post(CallEnded{running});
  ASSERT_EQ(world.stopped.size(), 1u);
  world.post(ReplicaGone{world.stopped[0], "stopped"});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "b");
}

TEST(Memory, WhatCanNeverFitIsRefusedWithItsNumbers) {
  World world(50);
  world.deploy(world.manifest("big", 100));
  world.call("big");
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, "does_not_fit");
  EXPECT_EQ(world.refused[0].retry_after_s, 0);
}

TEST(NewRevision, ServesOnlyOnceReadyAndTheOldOneDrains) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId old_call = world.call("f");
  world.ready(0);
  auto changed = world.manifest("f");
  changed.context = 4096;
  world.deploy(changed, 2);
  ASSERT_EQ(world.started.size(), 2u);
  world.call("f");
  EXPECT_EQ(world.granted.back().replica, world.started[0].replica);
  world.ready(1);
  world.call("f");
  EXPECT_EQ(world.granted.back().replica, world.started[1].replica);
  EXPECT_TRUE(world.stopped.empty());  // two calls still on the old one
  world.post(CallEnded{old_call});
  world.post(CallEnded{CallId{2}});
  EXPECT_EQ(world.stopped, std::vector{world.started[0].replica});
  EXPECT_TRUE(world.refused.empty());
}

TEST(NewRevision, ThatDoesNotStart_LeavesTheOldOneServing) {
  World world;
  world.deploy(world.manifest("f"));
  world.serve("f");
  auto changed = world.manifest("f");
  changed.context = 4096;
  world.deploy(changed, 2);
  world.post(ReplicaGone{world.started[1].replica, "exited with status 1"});
  world.call("f");
  EXPECT_EQ(world.brain.function("f")->revision, 1);
  EXPECT_NE(world.brain.function("f")->reason.find("revision 2"), std::string::npos);
  EXPECT_TRUE(world.refused.empty());
}

TEST(NewRevision, OfHowItIsRunOnly_KeepsTheReplica) {
  World world;
  world.deploy(world.manifest("f"));
  world.serve("f");
  auto changed = world.manifest("f");
  changed.keep_alive = 1s;
  world.post(FunctionPut{changed, 2});
  world.call("f");
  EXPECT_EQ(world.started.size(), 1u);
  EXPECT_EQ(world.brain.function("f")->revision, 2);
}

TEST(Abandoned, WaitingCallLeavesTheQueue) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId id = world.call("f");
  world.post(CallAbandoned{id});
  world.ready(0);
  EXPECT_TRUE(world.granted.empty());
  EXPECT_EQ(world.brain.function("f")->in_flight, 0);
}

TEST(Weight, ChoicesTakeSlots) {
  World world;
  world.deploy(world.manifest("f"));
  world.call("f", 3);
  world.call("f", 2);
  world.ready(0);
  EXPECT_EQ(world.granted.size(), 1u);
  world.call("f", 5);
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.param, "n");
}

TEST(Warm, StartsWithoutACallAndHolds) {
  World world;
  auto manifest = world.manifest("f");
  manifest.keep_alive = 1s;
  world.deploy(manifest);
  world.post(WarmWanted{"f", 1, 60s});
  ASSERT_EQ(world.started.size(), 1u);
  world.ready(0);
  world.pass(59s);
  EXPECT_TRUE(world.stopped.empty());
  world.pass(2s);
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST(Warm, StartsAsManyAsAsked) {
  World world;
  world.deploy(world.manifest("f"));
  world.post(WarmWanted{"f", 3, 60s});
  EXPECT_EQ(world.started.size(), 3u);
}

TEST(Warm, StartsNoMoreThanFit) {
  World world(250);
  world.deploy(world.manifest("f"));
  world.post(WarmWanted{"f", 3, 60s});
  EXPECT_EQ(world.started.size(), 2u);
  EXPECT_LE(world.brain.reserved_bytes(), 250 * kMB);
}

TEST(Drain, RefusesNewCallsStopsIdleAndFinishesRunning) {
  World world;
  world.deploy(world.manifest("f"));
  world.deploy(world.manifest("g"));
  const CallId running = world.call("f");
  world.ready(0);
  world.serve("g");
  world.post(DrainStarted{});
  EXPECT_EQ(world.stopped, std::vector{world.started[1].replica});
  world.call("f");
  EXPECT_EQ(world.refused.back().error.code, "shutting_down");
  world.post(CallEnded{running});
  EXPECT_EQ(world.stopped.size(), 2u);
}

TEST(Delete, RefusesWaitersAndStopsReplicas) {
  World world;
  world.deploy(world.manifest("f"));
  world.call("f");
  world.post(FunctionDeleted{"f"});
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, "model_not_found");
  EXPECT_EQ(world.stopped.size(), 1u);
  EXPECT_EQ(world.brain.function("f"), std::nullopt);
}

TEST(SameEvents, GiveTheSameEffects) {
  const auto run = [] {
    World world(150);
    for (const char* name : {"a", "b", "c"}) world.deploy(world.manifest(name));
    for (int i = 0; i < 30; ++i) {
      world.call(i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c");
      if (!world.stopped.empty()) world.post(ReplicaGone{world.stopped.back(), "stopped"});
      if (!world.started.empty()) world.ready(world.started.size() - 1);
      world.pass(700ms);
    }
    std::string log;
    for (const Decision& one : world.decisions)
      log += one.function + one.decision + one.reason + "\n";
    return log;
  };
  EXPECT_EQ(run(), run());
}

}  // namespace
}  // namespace glowplug::control
