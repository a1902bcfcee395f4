#include "control/test_load.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using domain::ProcessId;
using domain::State;

TEST_F(LoadScaling, QueueThatLasts_GrowsAtTheTickAsFarAsCoresGo) {
  loaded(small(), 6);
  world.pass(1999ms);
  EXPECT_EQ(world.started.size(), 1u);
  world.pass(1ms);
  EXPECT_EQ(world.started.size(), 4u);
  EXPECT_EQ(told("scale"),
            std::vector<std::string>{"panic: concurrency 6.0, 0.7 for a replica: 9; 8 more wanted, "
                                     "room for 3: each takes 1 of 4 cores, 1 are taken"});
  settle_for(10s);
  EXPECT_EQ(world.started.size(), 4u);
  EXPECT_EQ(told("scale").size(), 1u);
  EXPECT_EQ(world.granted.size(), 4u);
}

TEST_F(LoadScaling, ReplicaThatHasAllCores_StaysAlone) {
  domain::Manifest manifest = small();
  manifest.resources.threads = 0;
  loaded(manifest, 50);
  settle_for(30s);
  EXPECT_EQ(world.started.size(), 1u);
  ASSERT_EQ(told("scale").size(), 1u);
  EXPECT_NE(told("scale")[0].find("room for 0"), std::string::npos) << told("scale")[0];
}

TEST_F(LoadScaling, CoresOfOtherFunctions_CountWhileTheyWork) {
  loaded(small("other"), 1);
  const CallId other = ids.front();
  ids.clear();
  loaded(small(), 6);
  settle_for(4s);
  EXPECT_EQ(live(), 3);
  world.post(CallEnded{other});
  settle_for(4s);
  EXPECT_EQ(live(), 4);
}

TEST_F(LoadScaling, Max_IsNeverPassed) {
  domain::Manifest manifest = small();
  manifest.scale.max = 2;
  loaded(manifest, 6);
  settle_for(30s);
  EXPECT_EQ(world.started.size(), 2u);
  EXPECT_EQ(live(), 2);
}

TEST_F(LoadScaling, Memory_IsTakenWhereItIsFreeAndFromNobody) {
  world.use({.memory_bytes = 350 * kMB, .cores = 4});
  world.deploy(world.manifest("idle"));
  world.serve("idle");
  ready_ = 1;
  loaded(small(), 6);
  settle_for(30s);
  EXPECT_EQ(live(), 2);  // of three that fit one is the other's
  EXPECT_EQ(world.state("idle"), State::Ready);
}

TEST_F(LoadScaling, OthersWaitForRoom_NothingGrows) {
  world.use({.memory_bytes = 350 * kMB, .cores = 4});
  loaded(small(), 6);
  world.deploy(world.manifest("large", 300));
  world.call("large");
  world.pass(1999ms);
  EXPECT_EQ(live(), 1);
}

TEST_F(LoadScaling, NoTickWithoutCalls) {
  domain::Manifest manifest = small();
  manifest.slots = 4;
  manifest.keep_alive = kForever;
  loaded(manifest, 1);
  ASSERT_TRUE(world.last.wake_at);
  EXPECT_EQ(*world.last.wake_at, world.now + 2s);
  world.pass(2s);
  EXPECT_EQ(*world.last.wake_at, world.now + 2s);
  end(1);
  world.pass(5s);                                   // a copy of its prompt state is kept then
  EXPECT_EQ(*world.last.wake_at, world.now + 56s);  // to forget what it has seen
  world.pass(56s);
  EXPECT_EQ(world.last.wake_at, std::nullopt);
}

TEST_F(LoadScaling, LoadThatGoes_RetiresTheEmptiestAndNeverOneWithACall) {
  loaded(small(), 4);
  settle_for(4s);
  ASSERT_EQ(live(), 4);
  end(3);
  settle_for(58s);
  EXPECT_TRUE(world.stopped.empty());  // panic holds them
  settle_for(70s);
  EXPECT_EQ(live(), 2);  // 1 call of 0.7 for a replica wants two
  end(1);
  settle_for(80s);
  EXPECT_EQ(live(), 1);
  EXPECT_EQ(told("retire").size(), 3u);
  EXPECT_TRUE(world.refused.empty());
  settle_for(300s);
  EXPECT_EQ(live(), 0);  // keep_alive
}

TEST_F(LoadScaling, BusyOne_RetiresAndStopsOnceItsCallIsOver) {
  domain::Manifest manifest = small();
  manifest.slots = 4;
  loaded(manifest, 16);
  settle_for(4s);
  ASSERT_EQ(live(), 4);
  ASSERT_EQ(world.granted.size(), 16u);
  std::map<ProcessId, CallId> last;  // one call stays on each
  for (const GrantCall& one : world.granted) {
    if (last.contains(one.replica)) world.post(CallEnded{last.at(one.replica)});
    last[one.replica] = one.call;
  }
  settle_for(130s);  // 4 slots of 2.8 for a replica
  ASSERT_EQ(told("retire").size(), 2u);
  EXPECT_TRUE(world.stopped.empty());
  for (const auto& [replica, call] : last) world.post(CallEnded{call});
  EXPECT_EQ(world.stopped.size(), 2u);
}

TEST_F(LoadScaling, RetiredOne_IsCalledBackByACallThatWouldWait) {
  domain::Manifest manifest = small();
  manifest.slots = 4;
  loaded(manifest, 16);
  settle_for(4s);
  std::map<ProcessId, CallId> last;
  for (const GrantCall& one : world.granted) {
    if (last.contains(one.replica)) world.post(CallEnded{last.at(one.replica)});
    last[one.replica] = one.call;
  }
  settle_for(130s);
  ASSERT_EQ(told("retire").size(), 2u);
  std::set<ProcessId> took;
  const auto call_and_see = [&](int count) {
    const std::size_t before = world.granted.size();
    for (int i = 0; i < count; ++i) world.call("f");
    ASSERT_EQ(world.granted.size(), before + static_cast<std::size_t>(count));
    for (std::size_t i = before; i < world.granted.size(); ++i)
      took.insert(world.granted[i].replica);
  };
  call_and_see(6);  // three free slots each on the two that serve
  EXPECT_EQ(took.size(), 2u);
  call_and_see(1);
  EXPECT_EQ(took.size(), 3u);
  const std::size_t started = world.started.size();
  settle_for(6s);  // 11 slots: the load wants all back
  EXPECT_EQ(told("recall").size() + 1, told("retire").size());
  EXPECT_EQ(world.started.size(), started);
  EXPECT_TRUE(world.stopped.empty());
}

TEST_F(LoadScaling, Min_IsKept) {
  domain::Manifest manifest = small();
  manifest.scale.min = 3;
  world.deploy(manifest);
  settle_for(1s);
  ASSERT_EQ(live(), 3);
  calls(1);
  settle_for(200s);
  EXPECT_EQ(live(), 3);
  EXPECT_TRUE(told("retire").empty());
}

TEST_F(LoadScaling, Warm_IsKeptWhileItHolds) {
  world.deploy(small());
  world.post(WarmWanted{"f", 3, 100s});
  settle_for(1s);
  calls(1);
  settle_for(90s);
  EXPECT_EQ(live(), 3);
  settle_for(100s);
  EXPECT_EQ(live(), 2);  // the one call wants two
}

TEST_F(LoadScaling, Schedule_HoldsWhatTheLoadDoesNotWant) {
  domain::Manifest manifest = small();
  manifest.keep_alive = 1s;
  manifest.schedule = {{.from = 0, .until = 10, .tier = domain::Tier::Replica, .count = 3}};
  world.deploy(manifest);  // at midnight
  settle_for(1s);
  ASSERT_EQ(live(), 3);
  calls(1);
  settle_for(590s);
  EXPECT_EQ(live(), 3);
  EXPECT_TRUE(told("retire").empty());
  settle_for(20s);
  EXPECT_EQ(live(), 2);  // the one call wants two
}

TEST_F(LoadScaling, ReplicasOfOtherDomains_StayForKeepAlive) {
  domain::Manifest manifest = small();
  manifest.keep_alive = 200s;
  world.deploy(manifest);
  for (const char* salt : {"a", "b", "c"}) calls(1, "f", {.tenant = "", .salt = salt});
  settle_for(1s);
  ASSERT_EQ(live(), 3);
  end(2);
  settle_for(190s);
  EXPECT_GE(live(), 3);
  EXPECT_TRUE(told("retire").empty());
  settle_for(20s);
  EXPECT_LT(live(), 3);
}

TEST_F(LoadScaling, IdleReplicaOfAnotherDomain_IsNoCapacity) {
  domain::Manifest manifest = small();
  manifest.keep_alive = kForever;
  world.deploy(manifest);
  calls(1, "f", {.tenant = "", .salt = "a"});
  settle_for(1s);
  end(1);
  settle_for(61s);
  calls(1, "f", {.tenant = "", .salt = "b"});
  settle_for(10s);
  EXPECT_EQ(live(), 3);  // one call wants two, and a's serves nobody of b
}

TEST_F(LoadScaling, Threshold_GrowsByTwoWhereFirstTokensAreSlow) {
  domain::Manifest manifest = small("f", ScalePolicy::Threshold);
  manifest.slots = 64;
  loaded(manifest, 10);
  for (std::size_t i = 0; i < 9; ++i) world.post(AnswerBegan{"f", 1, 300ms});
  settle_for(4s);
  EXPECT_EQ(live(), 1);  // nine say nothing
  world.post(AnswerBegan{"f", 1, 300ms});
  settle_for(2s);
  EXPECT_EQ(live(), 3);
  EXPECT_EQ(told("scale"),
            std::vector<std::string>{"first token after 300 ms, over 200 ms, mean of 10: 3"});
}

TEST_F(LoadScaling, Threshold_GrowsWhereCallsStartCold) {
  domain::Manifest manifest = small("f", ScalePolicy::Threshold);
  manifest.slots = 64;
  world.deploy(manifest);
  calls(10);
  world.now += 100ms;
  settle_for(2500ms);
  ASSERT_EQ(told("scale").size(), 1u);
  EXPECT_EQ(told("scale")[0], "1.00 of 10 calls waited for a start, over 0.30: 3");
}

TEST_F(LoadScaling, Threshold_LastOneStaysForKeepAlive) {
  loaded(small("f", ScalePolicy::Threshold), 1);
  settle_for(60s);
  end(1);
  settle_for(290s);
  EXPECT_EQ(live(), 1);
  settle_for(20s);
  EXPECT_EQ(live(), 0);
}

TEST_F(LoadScaling, BeganAnswers_ChangeNothingByThemselves) {
  loaded(small(), 1);
  const std::optional<Time> wake = world.last.wake_at;
  world.post(AnswerBegan{"f", 1, 100ms});
  EXPECT_EQ(world.last.wake_at, wake);
  EXPECT_TRUE(world.last.list.empty());
  world.post(AnswerBegan{"f", 7, 100ms});
  end(1);
  world.post(AnswerBegan{"f", 1, 100ms});
  world.post(FunctionDeleted{"f"});
  world.post(AnswerBegan{"f", 1, 100ms});
}

TEST_F(LoadScaling, Stopped_StartsNothingBeforeTheNextCall) {
  loaded(small(), 4);
  settle_for(4s);
  world.post(StopWanted{"f"});
  end(4);
  const std::size_t started = world.started.size();
  settle_for(60s);
  EXPECT_EQ(world.started.size(), started);
  EXPECT_EQ(live(), 0);
}

TEST_F(LoadScaling, Draining_GrowsNothing) {
  loaded(small(), 6);
  world.post(DrainStarted{});
  world.pass(10s);
  EXPECT_EQ(world.started.size(), 1u);
}

TEST_F(LoadScaling, ReplicaThatDies_TakesItsLoadAlong) {
  loaded(small(), 1);
  world.post(ProcessGone{world.started[0].process, "crashed"});
  end(1);
  settle_for(10s);
  EXPECT_EQ(world.started.size(), 1u);
}

TEST_F(LoadScaling, NewNumberForTheSameReplicas_KeepsTheLoadCounted) {
  loaded(small(), 2);
  domain::Manifest same = small();
  same.keep_alive = 7s;
  world.post(FunctionPut{same, 2});
  end(2);
  settle_for(6s);
  EXPECT_EQ(live(), 1);
  settle_for(2s);
  EXPECT_EQ(live(), 0);
}

TEST_F(LoadScaling, EachOfASplit_GrowsByItsOwnCalls) {
  world.use({.memory_bytes = 2000 * kMB, .cores = 16});
  domain::Manifest b = small();
  b.context = 512;
  world.post(TrafficSet{"f", {{small(), 1, 75}, {b, 2, 25}}});
  world.post(ModelPrepared{"f", 1, {}});
  world.post(ModelPrepared{"f", 2, {}});
  calls(8);
  settle_for(5s);
  std::map<int, int> started;
  for (const StartProcess& one : world.started) ++started[one.revision];
  EXPECT_EQ(started, (std::map<int, int>{{1, 9}, {2, 3}}));  // 6 and 2 calls of 0.7 for a replica
}

TEST_F(LoadScaling, ReplicaThatOneCallHasToItself_IsFull) {
  domain::Manifest manifest = small();
  manifest.slots = 4;
  loaded(manifest, 1);
  end(1);
  world.post(CallArrived{.call = CallId{1000},
                         .function = "f",
                         .deadline = world.now + 3600s,
                         .keep_alive = {},
                         .retry_of = CallId{77}});
  ASSERT_EQ(world.granted.size(), 2u);
  settle_for(3s);
  EXPECT_EQ(live(), 2);  // four slots of 2.8 for a replica
}

class Forecasting : public LoadScaling {
 protected:
  // A call of a minute after each idle time; its start takes a second.
  void habit(int count, Duration idle) {
    for (int i = 0; i < count; ++i) {
      const CallId id = world.call("f");
      settle_for(61s);
      world.post(CallEnded{id});
      if (i + 1 < count) settle_for(idle);
    }
  }
  Forecasting() {
    domain::Manifest manifest = small("f", ScalePolicy::Predictive);
    manifest.slots = 4;
    manifest.keep_alive = 5min;
    world.deploy(manifest);
  }
};

TEST_F(Forecasting, ExpectedCall_FindsAReplicaThatKeepAliveHadLetGo) {
  habit(12, 30min);
  settle_for(60s);
  EXPECT_EQ(live(), 0);  // before keep_alive is over: nobody ever came so soon
  const std::size_t started = world.started.size();
  settle_for(27min - 60s);
  ASSERT_EQ(world.started.size(), started + 1);
  EXPECT_TRUE(world.started.back().ahead);
  settle_for(3min);
  EXPECT_EQ(live(), 1);  // long after keep_alive
  world.call("f");
  EXPECT_FALSE(world.granted.back().cold);
}

TEST_F(Forecasting, IdleTimeThatACallEnds_CountsForTheNext) {
  habit(11, 30min);  // ten idle times, the fewest that say something
  settle_for(60s);
  EXPECT_EQ(live(), 0);
}

TEST_F(Forecasting, OverdueCall_IsWaitedForNoLonger) {
  habit(12, 30min);
  settle_for(35min);
  EXPECT_EQ(live(), 0);
  const std::size_t started = world.started.size();
  settle_for(5h);
  EXPECT_EQ(world.started.size(), started);
}

TEST_F(Forecasting, Stopped_ExpectsNothingBeforeTheNextCall) {
  habit(12, 30min);
  settle_for(28min);
  ASSERT_EQ(live(), 1);
  world.post(StopWanted{"f"});
  const std::size_t started = world.started.size();
  settle_for(2h);
  EXPECT_EQ(world.started.size(), started);
  EXPECT_EQ(live(), 0);
}

}  // namespace
}  // namespace glowplug::control
