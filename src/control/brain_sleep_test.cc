// Engines that sleep: when, who wakes them, and what follows when they do not.
#include <algorithm>

#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using domain::Phase;
using domain::State;
using domain::Tier;

// Function "f" of a process engine that sleeps after 30 s and stops after 5 min.
class SleepTest : public testing::Test {
 protected:
  domain::Manifest manifest(std::uint64_t memory_mb = 100, const std::string& name = "f") const {
    domain::Manifest made = world_.manifest(name, memory_mb);
    made.engine.kind = domain::EngineKind::Process;
    made.engine.process.command = {"engine"};
    made.engine.process.sleep = domain::EngineSleep{};
    return made;
  }
  void deploy(const domain::Manifest& made) { world_.deploy(made); }
  // Served one call, then idle for as long as it takes.
  void fall() {
    world_.serve("f");
    world_.pass(30s);
    ASSERT_EQ(world_.put_to_sleep.size(), ++falls_);
  }
  void asleep() {
    fall();
    world_.post(ReplicaAsleep{id()});
  }
  domain::ProcessId id(std::size_t start = 0) const { return world_.started.at(start).process; }
  void awake() { world_.post(ReplicaAwake{world_.woken.back().replica}); }
  FunctionView view() const { return *world_.brain.function("f"); }
  bool decided(const std::string& decision, const std::string& part = "") const {
    return std::any_of(world_.decisions.begin(), world_.decisions.end(), [&](const auto& one) {
      return one.decision == decision && one.reason.find(part) != std::string::npos;
    });
  }

  World world_;
  std::size_t falls_ = 0;
};

TEST_F(SleepTest, IdleReplica_SleepsOnceAndIsShownColdWithItsBytes) {
  deploy(manifest());
  world_.serve("f");
  world_.pass(29s);
  EXPECT_TRUE(world_.put_to_sleep.empty());
  world_.pass(1s);
  ASSERT_EQ(world_.put_to_sleep.size(), 1u);
  EXPECT_EQ(world_.put_to_sleep[0].replica, id());
  EXPECT_EQ(world_.put_to_sleep[0].how, domain::EngineSleep{});
  EXPECT_TRUE(decided("sleep", "idle for 30.0 s (vllm, level 1)"));
  world_.post(ReplicaAsleep{id()});
  world_.pass(60s);
  EXPECT_EQ(world_.put_to_sleep.size(), 1u);
  EXPECT_EQ(view().state, State::Cold);
  EXPECT_EQ(view().tier, Tier::Asleep);
  EXPECT_EQ(view().memory_bytes, 100 * kMB);
  ASSERT_EQ(view().replicas.size(), 1u);
  EXPECT_EQ(view().replicas[0].state, State::Cold);
  EXPECT_TRUE(view().replicas[0].asleep);
  EXPECT_EQ(view().revisions[0].state, State::Cold);
  EXPECT_EQ(world_.brain.reserved_bytes(), 100 * kMB);
}

TEST_F(SleepTest, NoSleepInTheManifest_NeverSleeps) {
  domain::Manifest made = manifest();
  made.engine.process.sleep.reset();
  deploy(made);
  world_.serve("f");
  world_.pass(299s);
  EXPECT_TRUE(world_.put_to_sleep.empty());
  EXPECT_EQ(world_.state("f"), State::Ready);
}

TEST_F(SleepTest, CallInFlight_IsNeverSleptUnder) {
  deploy(manifest());
  const CallId first = world_.call("f");
  world_.ready(0);
  const CallId second = world_.call("f");
  world_.pass(600s);
  world_.post(CallEnded{first});
  world_.pass(600s);
  EXPECT_TRUE(world_.put_to_sleep.empty());
  world_.post(CallEnded{second});
  world_.pass(30s);
  EXPECT_EQ(world_.put_to_sleep.size(), 1u);
}

TEST_F(SleepTest, CallsForASleeper_WakeItOnceAndStartNothing) {
  deploy(manifest());
  asleep();
  for (int i = 0; i < 6; ++i) world_.call("f");
  ASSERT_EQ(world_.woken.size(), 1u);
  EXPECT_EQ(world_.woken[0].replica, id());
  EXPECT_EQ(world_.state("f"), State::Loading);
  EXPECT_EQ(world_.granted.size(), 1u);  // the one before it slept
  world_.now += 300ms;
  awake();
  EXPECT_EQ(world_.started.size(), 1u);
  ASSERT_EQ(world_.granted.size(), 5u);  // its slots are full
  const GrantCall& grant = world_.granted[1];
  EXPECT_TRUE(grant.cold);
  EXPECT_EQ(grant.tier, Tier::Asleep);
  EXPECT_EQ(grant.waited[Phase::Load], Duration(300ms));
  EXPECT_EQ(grant.waited[Phase::Queue], Duration(0));
  EXPECT_EQ(view().cold_starts, 2u);
  EXPECT_EQ(view().state, State::Ready);
  EXPECT_TRUE(decided("awake", "after 300.0 ms"));
}

TEST_F(SleepTest, CallsForTwoSleepers_WakeOneAtATime) {
  domain::Manifest made = manifest();
  made.scale.min = 2;
  deploy(made);
  for (const std::size_t start : {0u, 1u}) world_.ready(start);
  world_.pass(30s);
  for (const std::size_t start : {0u, 1u}) world_.post(ReplicaAsleep{id(start)});
  for (int i = 0; i < 5; ++i) world_.call("f");
  EXPECT_EQ(world_.woken.size(), 1u);
  awake();
  EXPECT_EQ(world_.granted.size(), 4u);  // its slots
  EXPECT_EQ(world_.woken.size(), 2u);    // for the fifth
}

TEST_F(SleepTest, CallOnceItIsAwake_IsNotCold) {
  deploy(manifest());
  asleep();
  const CallId cold = world_.call("f");
  world_.now += 300ms;
  awake();
  world_.post(CallEnded{cold});
  world_.now += 1s;
  world_.call("f");
  EXPECT_FALSE(world_.granted.back().cold);
  EXPECT_EQ(world_.granted.back().tier, Tier::Replica);
}

TEST_F(SleepTest, CallWhileItFallsAsleep_WakesItAfterwards) {
  deploy(manifest());
  fall();
  world_.call("f");
  EXPECT_TRUE(world_.woken.empty());
  world_.now += 200ms;
  world_.post(ReplicaAsleep{id()});
  ASSERT_EQ(world_.woken.size(), 1u);
  world_.now += 300ms;
  awake();
  EXPECT_EQ(world_.started.size(), 1u);
  EXPECT_EQ(world_.granted.back().waited[Phase::Queue], Duration(200ms));
  EXPECT_EQ(world_.granted.back().waited[Phase::Load], Duration(300ms));
}

TEST_F(SleepTest, CallerThatLeaves_LeavesItAwakeUntilItIsIdleAgain) {
  deploy(manifest());
  asleep();
  world_.post(CallAbandoned{world_.call("f")});
  awake();
  EXPECT_EQ(world_.granted.size(), 1u);
  EXPECT_EQ(world_.state("f"), State::Ready);
  world_.pass(29s);
  EXPECT_EQ(world_.put_to_sleep.size(), 1u);
  world_.pass(1s);
  EXPECT_EQ(world_.put_to_sleep.size(), 2u);
}

TEST_F(SleepTest, KeepAliveOver_StopsTheSleeperAndTheNextCallStarts) {
  deploy(manifest());
  asleep();
  world_.pass(269s);
  EXPECT_TRUE(world_.stopped.empty());
  world_.pass(1s);  // 5 min after its last call
  ASSERT_EQ(world_.stopped.size(), 1u);
  world_.post(ProcessGone{id(), "stopped", Ending::Asked});
  EXPECT_EQ(view().tier, Tier::Disk);
  world_.call("f");
  EXPECT_EQ(world_.started.size(), 2u);
  EXPECT_TRUE(world_.woken.empty());
}

TEST_F(SleepTest, KeepAliveOverWhileItTurns_WaitsForTheOutcome) {
  domain::Manifest made = manifest();
  made.keep_alive = 40s;
  deploy(made);
  asleep();
  world_.pass(9s);
  world_.call("f");
  world_.pass(20s);  // past the keep_alive of its last call
  EXPECT_TRUE(world_.stopped.empty());
  awake();
  EXPECT_EQ(world_.granted.size(), 2u);
}

TEST_F(SleepTest, ForeverAndMinimum_SleepAndAreNeverStopped) {
  domain::Manifest made = manifest();
  made.scale.min = 1;
  deploy(made);
  world_.ready(0);
  world_.pass(30s);
  ASSERT_EQ(world_.put_to_sleep.size(), 1u);
  world_.post(ReplicaAsleep{id()});
  world_.pass(3600s);
  EXPECT_TRUE(world_.stopped.empty());
  EXPECT_EQ(world_.started.size(), 1u);
}

TEST_F(SleepTest, Warm_WakesASleeperAndKeepsItAwake) {
  deploy(manifest());
  asleep();
  world_.post(WarmWanted{"f", 1, 100s});
  ASSERT_EQ(world_.woken.size(), 1u);
  EXPECT_TRUE(decided("wake", "held warm"));
  awake();
  world_.pass(99s);
  EXPECT_EQ(world_.put_to_sleep.size(), 1u);
  world_.pass(1s);
  EXPECT_EQ(world_.put_to_sleep.size(), 2u);
  EXPECT_EQ(world_.started.size(), 1u);
}

TEST_F(SleepTest, DoesNotFallAsleep_IsKilledAndTheCallGetsAStart) {
  deploy(manifest());
  fall();
  world_.call("f");
  world_.post(SleepFailed{id(), "POST /sleep?level=1 answered 500"});
  EXPECT_EQ(world_.killed, std::vector{id()});
  EXPECT_TRUE(decided("sleep-failed", "does not fall asleep and is killed: POST /sleep?level=1"));
  EXPECT_EQ(world_.started.size(), 1u);  // its device memory is not free before it is gone
  world_.post(ProcessGone{id(), "killed", Ending::Asked});
  ASSERT_EQ(world_.started.size(), 2u);
  world_.ready(1);
  EXPECT_EQ(world_.granted.size(), 2u);
  EXPECT_NE(world_.granted.back().tier, Tier::Asleep);
}

TEST_F(SleepTest, DoesNotFallAsleep_IsNotTriedAgainForAWhile) {
  domain::Manifest made = manifest();
  made.scale.min = 1;
  deploy(made);
  world_.ready(0);
  world_.pass(30s);
  world_.post(SleepFailed{id(), "POST /sleep?level=1 answered 404"});
  world_.post(ProcessGone{id(), "killed", Ending::Asked});
  ASSERT_EQ(world_.started.size(), 2u);
  world_.ready(1);
  world_.pass(550s);
  EXPECT_EQ(world_.put_to_sleep.size(), 1u);
  EXPECT_EQ(world_.state("f"), State::Ready);
  world_.pass(60s);
  EXPECT_EQ(world_.put_to_sleep.size(), 2u);
}

TEST_F(SleepTest, ScheduleHoldsAReplica_StaysAwakeWithinItsHours) {
  domain::Manifest made = manifest();
  made.schedule = {{.from = 0, .until = 60, .tier = Tier::Replica, .count = 1}};
  deploy(made);  // at midnight
  world_.ready(0);
  world_.pass(std::chrono::minutes(59));
  EXPECT_TRUE(world_.put_to_sleep.empty());
  EXPECT_EQ(world_.started.size(), 1u);
  world_.pass(std::chrono::minutes(2));
  EXPECT_EQ(world_.put_to_sleep.size() + world_.stopped.size(), 1u);
}

TEST_F(SleepTest, DoesNotWake_IsKilledAndTheCallGetsAStart) {
  deploy(manifest());
  asleep();
  world_.call("f");
  world_.post(SleepFailed{id(), "not done within 60 s"});
  EXPECT_TRUE(decided("sleep-failed", "does not wake and is killed: not done within 60 s"));
  world_.post(ProcessGone{id(), "killed", Ending::Asked});
  ASSERT_EQ(world_.started.size(), 2u);
  world_.ready(1);
  EXPECT_EQ(world_.granted.size(), 2u);
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(SleepTest, DiesAsleepOrWaking_TheCallGetsAStart) {
  deploy(manifest());
  asleep();
  world_.post(ProcessGone{id(), "exited with 1"});
  EXPECT_TRUE(view().replicas.empty());
  world_.call("f");
  ASSERT_EQ(world_.started.size(), 2u);
  world_.ready(1);
  world_.post(CallEnded{CallId{world_.calls}});
  world_.pass(30s);
  world_.post(ReplicaAsleep{id(1)});
  world_.call("f");
  ASSERT_EQ(world_.woken.size(), 1u);
  world_.post(ProcessGone{id(1), "exited with 1"});
  ASSERT_EQ(world_.started.size(), 3u);
  world_.ready(2);
  EXPECT_EQ(world_.granted.size(), 3u);
}

TEST_F(SleepTest, LateAnswers_ChangeNothing) {
  deploy(manifest());
  fall();
  world_.post(StopWanted{"f"});
  world_.post(ReplicaAsleep{id()});
  world_.post(SleepFailed{id(), "late"});
  world_.post(ReplicaAwake{id()});
  EXPECT_TRUE(world_.killed.empty());
  EXPECT_EQ(world_.stopped.size(), 1u);
  world_.post(ProcessGone{id(), "stopped", Ending::Asked});
  for (const Event& late :
       {Event{ReplicaAsleep{id()}}, Event{ReplicaAwake{id()}}, Event{SleepFailed{id(), "late"}}})
    world_.post(late);
  EXPECT_EQ(world_.started.size(), 1u);
}

// Stop, delete and drain end it in every state.
class SleepEndTest : public SleepTest, public testing::WithParamInterface<int> {
 protected:
  void reach() {
    deploy(manifest());
    GetParam() == 0 ? fall() : asleep();
    if (GetParam() == 2) world_.call("f");
  }
};
INSTANTIATE_TEST_SUITE_P(FallingAsleepWaking, SleepEndTest, testing::Values(0, 1, 2));

TEST_P(SleepEndTest, Stop_EndsIt) {
  reach();
  world_.post(StopWanted{"f"});
  EXPECT_EQ(world_.stopped, std::vector{id()});
  EXPECT_EQ(world_.started.size(), GetParam() == 2 ? 2u : 1u);  // the call that waits
}

TEST_P(SleepEndTest, Delete_EndsIt) {
  reach();
  world_.post(FunctionDeleted{"f"});
  EXPECT_EQ(world_.stopped, std::vector{id()});
  EXPECT_EQ(world_.refused.size(), GetParam() == 2 ? 1u : 0u);
  world_.post(ProcessGone{id(), "stopped", Ending::Asked});
  EXPECT_EQ(world_.brain.replicas(), 0u);
  EXPECT_EQ(world_.started.size(), 1u);
}

TEST_P(SleepEndTest, ServerDrain_EndsIt) {
  reach();
  world_.post(DrainStarted{});
  EXPECT_EQ(world_.stopped, std::vector{id()});
  world_.post(ProcessGone{id(), "stopped", Ending::Asked});
  EXPECT_EQ(world_.started.size(), 1u);
}

TEST_F(SleepTest, DeployWhileAsleep_TakesOverWithoutAStart) {
  deploy(manifest());
  asleep();
  domain::Manifest next = manifest();
  next.context = 4096;
  world_.deploy(next, 2);
  EXPECT_EQ(view().revision, 2);
  EXPECT_EQ(world_.stopped, std::vector{id()});
  EXPECT_EQ(world_.started.size(), 1u);
  world_.call("f");
  EXPECT_TRUE(world_.woken.empty());
  EXPECT_EQ(world_.started.size(), 2u);
}

TEST_F(SleepTest, DeployWhileItWakes_StartsTheNewBesideIt) {
  deploy(manifest());
  asleep();
  world_.call("f");
  domain::Manifest next = manifest();
  next.context = 4096;
  world_.deploy(next, 2);
  awake();
  EXPECT_EQ(world_.granted.back().revision, 1);
  ASSERT_EQ(world_.started.size(), 2u);
  world_.ready(1);
  EXPECT_EQ(view().revision, 2);
}

TEST_F(SleepTest, OnlyWhenItSleepsIsNew_TheSleeperGoesOn) {
  deploy(manifest());
  asleep();
  domain::Manifest next = manifest();
  next.engine.process.sleep->after = 60s;
  world_.deploy(next, 2);
  EXPECT_TRUE(world_.stopped.empty());
  world_.call("f");
  ASSERT_EQ(world_.woken.size(), 1u);
  awake();
  EXPECT_EQ(world_.granted.back().revision, 2);
}

TEST_F(SleepTest, AnotherKindOrLevel_NeedsAnotherProcess) {
  deploy(manifest());
  asleep();
  domain::Manifest next = manifest();
  next.engine.process.sleep->level = 2;
  world_.deploy(next, 2);
  EXPECT_EQ(world_.stopped, std::vector{id()});
}

TEST_F(SleepTest, MemoryNeededByAnother_EvictsTheSleeper) {
  deploy(manifest(700));
  asleep();
  world_.deploy(world_.manifest("g", 700));
  world_.call("g");
  EXPECT_EQ(world_.stopped, std::vector{id()});
}

TEST_F(SleepTest, MemoryNeededWhileItWakesForACall_IsWaitedFor) {
  deploy(manifest(700));
  asleep();
  world_.call("f");
  world_.deploy(world_.manifest("g", 700));
  world_.call("g");
  EXPECT_TRUE(world_.stopped.empty());
  awake();
  EXPECT_EQ(world_.granted.size(), 2u);
}

TEST_F(SleepTest, Watchers_HearOfEachTurn) {
  deploy(manifest());
  world_.serve("f");
  const FunctionStatus ready = *world_.brain.status("f");
  world_.pass(30s);
  const FunctionStatus falling = *world_.brain.status("f");
  world_.post(ReplicaAsleep{id()});
  world_.call("f");
  const FunctionStatus waking = *world_.brain.status("f");
  EXPECT_EQ(change_between(ready, falling), Change::State);
  EXPECT_EQ(change_between(falling, waking), Change::State);
  EXPECT_EQ(falling.replicas[0].state, State::Cold);
  EXPECT_EQ(waking.replicas[0].state, State::Loading);
}

}  // namespace
}  // namespace glowplug::control
