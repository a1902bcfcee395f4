#include "control/brain.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/units.h"
#include "control/test_world.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using domain::State;

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
  EXPECT_EQ(world.granted.front().waited[domain::Phase::Load], Duration(300ms));
  EXPECT_EQ(world.granted.front().waited[domain::Phase::Queue], Duration(0));
}

TEST(WarmFunction_CallWaitsForASlot, IsNotCold) {
  World world;
  auto manifest = world.manifest("f");
  manifest.slots = 1;
  world.deploy(manifest);
  const CallId first = world.call("f");
  world.now += 100ms;
  world.ready(0);
  world.call("f");
  world.now += 5s;
  world.post(CallEnded{first});
  ASSERT_EQ(world.granted.size(), 2u);
  EXPECT_TRUE(world.granted[0].cold);
  EXPECT_FALSE(world.granted[1].cold);
  EXPECT_EQ(world.granted[1].tier, domain::Tier::Replica);
  EXPECT_EQ(world.granted[1].waited[domain::Phase::Queue], Duration(5s));
  EXPECT_EQ(std::count_if(world.decisions.begin(), world.decisions.end(),
                          [](const Decision& one) { return one.decision == "grant"; }),
            1);
}

// No replica was ready when it came, but the one that serves it needed no start for it.
TEST(WarmFunction_CallArrivesAtTheMomentItIsReady, IsNotCold) {
  World world;
  world.deploy(world.manifest("f"));
  world.post(WarmWanted{"f", 1, 60s});
  world.now += 100ms;
  world.call("f");
  world.ready(0);
  ASSERT_EQ(world.granted.size(), 1u);
  EXPECT_FALSE(world.granted[0].cold);
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
  world.post(ProcessGone{world.stopped[0], "stopped"});
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
  world.post(ProcessGone{world.started[0].process, "exited with status 3"});
  EXPECT_EQ(world.refused.size(), 2u);
  EXPECT_EQ(world.state("f"), State::Failed);
  world.call("f");
  EXPECT_EQ(world.refused.size(), 3u);
  EXPECT_EQ(world.started.size(), 1u);  // no storm of loads
  world.now += domain::kFailureRemembered;
  world.call("f");
  EXPECT_EQ(world.started.size(), 2u);
}

TEST(FailedStart, OneAfterTheOther_IsRememberedForTwiceAsLongUntilOneIsReady) {
  World world;
  world.deploy(world.manifest("f"));
  const auto fails = [&world] {
    world.call("f");
    world.post(ProcessGone{world.started.back().process, "exited with status 3"});
    return world.refused.back().retry_after_s;
  };
  EXPECT_EQ(fails(), 5);
  world.now += 5s;
  EXPECT_GE(fails(), 10);
  world.now += 13s;
  EXPECT_GE(fails(), 20);
  world.now += 1min;
  world.call("f");
  world.ready(world.started.size() - 1);
  world.post(ProcessGone{world.started.back().process, "crashed", Ending::Itself});
  EXPECT_EQ(fails(), 5);
}

TEST(FailedStart, KilledFromOutside_IsTriedOnceMore) {
  World world;
  world.deploy(world.manifest("f"));
  world.call("f");
  world.post(ProcessGone{world.started[0].process, "killed by signal 9", Ending::Killed});
  EXPECT_TRUE(world.refused.empty());
  ASSERT_EQ(world.started.size(), 2u);
  world.post(ProcessGone{world.started[1].process, "killed by signal 9", Ending::Killed});
  EXPECT_EQ(world.refused.size(), 1u);
}

TEST(CrashWhileServing, NextCallStartsAnother) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId id = world.call("f");
  world.ready(0);
  world.post(ProcessGone{world.started[0].process, "killed by signal 9"});
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
  EXPECT_EQ(world.stopped, std::vector{world.started[0].process});
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

TEST(ModelUnavailable, FileThatCannotBeUsed_IsNoFaultOfTheCaller) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  world.call("f");
  world.post(ModelUnavailable{"f", 1, {"model_rejected", "the file ends too soon", "model"}});
  world.call("f");
  ASSERT_EQ(world.refused.size(), 2u);
  for (const RefuseCall& refused : world.refused) {
    EXPECT_EQ(refused.error.code, "function_failed");
    EXPECT_EQ(refused.error.message, "the file ends too soon");
    EXPECT_GT(refused.retry_after_s, 0);
  }
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
  EXPECT_EQ(world.stopped[0], world.started[0].process);  // a's
  EXPECT_EQ(world.started.size(), 2u);
  world.post(ProcessGone{world.stopped[0], "stopped"});
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
  world.post(ProcessGone{world.stopped[0], "stopped"});
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
  EXPECT_EQ(world.granted.back().replica, world.started[0].process);
  world.ready(1);
  world.call("f");
  EXPECT_EQ(world.granted.back().replica, world.started[1].process);
  EXPECT_TRUE(world.stopped.empty());  // two calls still on the old one
  world.post(CallEnded{old_call});
  world.post(CallEnded{CallId{2}});
  EXPECT_EQ(world.stopped, std::vector{world.started[0].process});
  EXPECT_TRUE(world.refused.empty());
}

TEST(NewRevision, ThatDoesNotStart_LeavesTheOldOneServing) {
  World world;
  world.deploy(world.manifest("f"));
  world.serve("f");
  auto changed = world.manifest("f");
  changed.context = 4096;
  world.deploy(changed, 2);
  world.post(ProcessGone{world.started[1].process, "exited with status 1"});
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
  EXPECT_EQ(world.stopped, std::vector{world.started[1].process});
  world.call("f");
  EXPECT_EQ(world.refused.back().error.code, "shutting_down");
  world.post(CallEnded{running});
  EXPECT_EQ(world.stopped.size(), 2u);
}

TEST(Drain, WhileLoading_KillsTheLoadAndRefusesWhoWaits) {
  World world;
  world.deploy(world.manifest("f"));
  world.deploy(world.manifest("g"));
  world.serve("g");
  world.call("f");
  world.call("f");
  world.post(DrainStarted{});
  EXPECT_EQ(world.killed, std::vector{world.started[1].process});
  ASSERT_EQ(world.refused.size(), 2u);
  for (const RefuseCall& refusal : world.refused) {
    EXPECT_EQ(refusal.error.code, "shutting_down");
    EXPECT_GE(refusal.retry_after_s, 1);
  }
  world.post(ProcessGone{world.started[1].process, "killed", Ending::Asked});
  EXPECT_EQ(world.started.size(), 2u);
  EXPECT_NE(world.state("f"), domain::State::Failed);
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
      if (!world.stopped.empty()) world.post(ProcessGone{world.stopped.back(), "stopped"});
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

TEST(Tuning, StandsForAutoAtTheNextStart_AndTheRunningReplicaStays) {
  World world;
  const domain::Manifest declared = world.manifest("f");
  world.deploy(declared);
  world.serve("f");
  domain::Manifest tuned = declared;
  tuned.resources.threads = 1;
  tuned.tuning.repack = domain::Repack::Off;
  world.post(FunctionTuned{tuned, 1});
  EXPECT_TRUE(world.stopped.empty());
  EXPECT_EQ(world.state("f"), domain::State::Ready);
  world.post(StopWanted{"f"});
  world.post(ProcessGone{world.started[0].process, "stopped", Ending::Asked});
  world.serve("f");
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.tuning, tuned.tuning);
  EXPECT_EQ(world.started[1].threads, 1);
  world.post(FunctionTuned{tuned, 7});  // of a revision that is not there
}

TEST(Tuning, OtherSettings_AreAnotherReplica) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  world.deploy(manifest);
  world.serve("f");
  manifest.tuning.kv = domain::KvType::Q8_0;
  world.deploy(manifest, 2);
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].revision, 2);
}

TEST(Tuning, MemorySetAside_IsPromisedToNobodyElse) {
  World world(250);
  world.deploy(world.manifest("f", 200));
  world.post(MemorySetAside{100 * kMB});
  world.call("f");
  EXPECT_TRUE(world.started.empty());
  world.post(MemorySetAside{0});
  EXPECT_EQ(world.started.size(), 1u);
}

}  // namespace
}  // namespace glowplug::control
