// Generations side by side: who takes a call, who stands in, and how one set replaces another.
#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "control/test_world.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using domain::State;
using Served = TrafficSet::Served;

// Function "f" with revisions whose replicas cannot stand in for one another.
class TrafficTest : public testing::Test {
 protected:
  Served served(int revision, int weight = 100, int slots = 4) const {
    domain::Manifest manifest = world_.manifest("f");
    manifest.context = 1000 + revision;
    manifest.slots = slots;
    return {manifest, revision, weight};
  }
  void set(std::vector<Served> split) {
    world_.post(TrafficSet{"f", split});
    prepare();
  }
  // Every model that was asked for is there.
  void prepare() {
    while (prepared_ < world_.prepared.size()) {
      const PrepareModel one = world_.prepared[prepared_++];
      world_.post(ModelPrepared{"f", one.revision, {}});
    }
  }
  // Everything that was started and not yet ended is ready.
  void ready() {
    while (started_ < world_.started.size()) world_.ready(started_++);
  }
  // One more ends than there are: a crash while it loads.
  void crash() {
    const domain::ProcessId process = world_.started[started_++].process;
    world_.post(ProcessGone{process, "it crashed"});
  }
  int revision_of(CallId call) const {
    for (const GrantCall& grant : world_.granted)
      if (grant.call == call) return grant.revision;
    return 0;
  }
  // Calls one after the other, each answered; how many each revision took.
  std::map<int, int> take(int calls) {
    std::map<int, int> counts;
    for (int i = 0; i < calls; ++i) {
      const CallId call = world_.call("f");
      prepare();
      ready();
      ++counts[revision_of(call)];
      world_.post(CallEnded{call});
    }
    return counts;
  }
  bool decided(const std::string& decision, const std::string& part = "") const {
    return std::any_of(world_.decisions.begin(), world_.decisions.end(), [&](const auto& one) {
      return one.decision == decision && one.reason.find(part) != std::string::npos;
    });
  }
  std::vector<RevisionStatus> revisions() const { return world_.brain.function("f")->revisions; }
  std::vector<std::pair<int, int>> weights() const {
    std::vector<std::pair<int, int>> list;
    for (const RevisionStatus& one : revisions()) list.emplace_back(one.revision, one.weight);
    return list;
  }
  int live(int revision) const {
    const FunctionView view = *world_.brain.function("f");
    return static_cast<int>(
        std::count_if(view.replicas.begin(), view.replicas.end(), [revision](const auto& one) {
          return one.revision == revision && one.state != State::Draining;
        }));
  }

  using Weights = std::vector<std::pair<int, int>>;
  World world_;
  std::size_t prepared_ = 0, started_ = 0;
};

TEST_F(TrafficTest, SplitOfNinetyAndTen_IsExactOverThousandCalls) {
  set({served(3, 90), served(4, 10)});
  EXPECT_EQ(take(1000), (std::map<int, int>{{3, 900}, {4, 100}}));
  EXPECT_EQ(world_.started.size(), 2u);
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(TrafficTest, NewSplit_TakesOverOnceAllThatIsNewIsReady) {
  set({served(3)});
  take(1);
  set({served(3, 50), served(4, 25), served(5, 25)});
  EXPECT_EQ(weights(), (Weights{{3, 100}, {4, 0}, {5, 0}}));
  EXPECT_EQ(world_.started.size(), 3u);
  world_.ready(1);
  EXPECT_EQ(weights(), (Weights{{3, 100}, {4, 0}, {5, 0}}));
  const CallId meanwhile = world_.call("f");
  EXPECT_EQ(revision_of(meanwhile), 3);
  world_.post(CallEnded{meanwhile});
  world_.pass(1s);
  world_.ready(2);
  started_ = 3;
  EXPECT_EQ(weights(), (Weights{{3, 50}, {4, 25}, {5, 25}}));
  EXPECT_TRUE(decided("switch", "revision 3 -> 3: 50, 4: 25, 5: 25"));
  EXPECT_EQ(take(100), (std::map<int, int>{{3, 50}, {4, 25}, {5, 25}}));
  EXPECT_TRUE(world_.stopped.empty());
}

TEST_F(TrafficTest, NewcomerReadyLongBeforeTheOther_IsWaitedForWithoutATimer) {
  set({served(3)});
  take(1);
  set({served(4, 50), served(5, 50)});
  world_.ready(1);
  world_.pass(std::chrono::hours(1));
  EXPECT_GT(world_.last.wake_at.value_or(Time::max()), world_.now);
  EXPECT_EQ(live(4), 1);
}

TEST_F(TrafficTest, WeightsAlone_ChangeAtOnceAndStartNothing) {
  set({served(3, 90), served(4, 10)});
  take(100);
  set({served(4, 60), served(3, 40)});
  EXPECT_EQ(weights(), (Weights{{4, 60}, {3, 40}}));
  EXPECT_EQ(take(100), (std::map<int, int>{{3, 40}, {4, 60}}));
  EXPECT_EQ(world_.started.size(), 2u);
}

TEST_F(TrafficTest, GenerationThatLeavesTheSplit_FinishesItsCallsAndStops) {
  set({served(3, 50), served(4, 50)});
  const CallId first = world_.call("f"), second = world_.call("f");
  prepare();
  ready();
  ASSERT_EQ(revision_of(first), 3);
  ASSERT_EQ(revision_of(second), 4);
  set({served(4)});
  EXPECT_EQ(weights(), (Weights{{4, 100}}));
  EXPECT_TRUE(world_.stopped.empty());  // its call is not cut
  EXPECT_EQ(take(10), (std::map<int, int>{{4, 10}}));
  world_.post(CallEnded{first});
  ASSERT_EQ(world_.stopped.size(), 1u);
  EXPECT_EQ(world_.stopped[0], world_.started[0].process);
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(TrafficTest, CallsThatWaitForAGenerationThatLeaves_GoToTheOneThatServes) {
  set({served(3, 50, 1), served(4, 50, 1)});
  std::vector<CallId> calls;
  for (int i = 0; i < 8; ++i) calls.push_back(world_.call("f"));
  prepare();
  ready();  // each holds one call, three wait for each
  set({served(4, 100, 1)});
  for (const CallId call : calls) world_.post(CallEnded{call});
  for (const CallId call : calls) EXPECT_NE(revision_of(call), 0);
  EXPECT_EQ(std::count_if(calls.begin(), calls.end(),
                          [this](CallId call) { return revision_of(call) == 3; }),
            1);
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(TrafficTest, BusyGeneration_DoesNotHoldUpTheOther) {
  set({served(3, 50, 1), served(4, 50, 1)});
  world_.call("f");                       // to 3, and it stays
  const CallId four = world_.call("f");   // to 4
  const CallId three = world_.call("f");  // to 3, waits
  prepare();
  ready();
  world_.post(CallEnded{four});
  const CallId other = world_.call("f");
  EXPECT_EQ(revision_of(three), 0);
  EXPECT_EQ(revision_of(other), 4);
}

TEST_F(TrafficTest, GenerationThatDoesNotStart_HandsItsCallsToTheHeaviest) {
  set({served(3, 60), served(4, 30), served(5, 10)});
  std::vector<CallId> calls;
  for (int i = 0; i < 10; ++i) calls.push_back(world_.call("f"));
  prepare();
  for (std::size_t i = 0; i < world_.started.size(); ++i)
    if (world_.started[i].revision == 5)
      world_.post(ProcessGone{world_.started[i].process, "it crashed"});
    else
      world_.ready(i);
  started_ = world_.started.size();
  for (const CallId call : calls) world_.post(CallEnded{call});
  EXPECT_TRUE(world_.refused.empty());
  EXPECT_TRUE(decided("fallback", "revision 5 (10 of 100 calls) fails"));
  EXPECT_TRUE(decided("fallback", "revision 3 takes its calls"));
  EXPECT_EQ(take(100), (std::map<int, int>{{3, 70}, {4, 30}}));  // remembered: no storm of starts
  EXPECT_EQ(world_.started.size(), 3u);
  EXPECT_EQ(revisions()[2].state, State::Failed);
  EXPECT_NE(revisions()[2].reason.find("it crashed"), std::string::npos);
  EXPECT_EQ(world_.state("f"), State::Ready);
}

TEST_F(TrafficTest, GenerationThatFailed_IsTriedAgainAndComesBack) {
  set({served(3, 50), served(4, 50)});
  world_.call("f");
  world_.call("f");
  prepare();
  world_.ready(0);
  world_.post(ProcessGone{world_.started[1].process, "it crashed"});
  started_ = 2;
  world_.pass(domain::kFailureRemembered);
  EXPECT_EQ(take(10), (std::map<int, int>{{3, 5}, {4, 5}}));
  EXPECT_EQ(revisions()[1].state, State::Ready);
}

TEST_F(TrafficTest, WhenNoneStarts_CallsAreRefusedWithTheReason) {
  set({served(3, 50), served(4, 50)});
  world_.call("f");
  world_.call("f");
  prepare();
  crash();
  crash();
  EXPECT_EQ(world_.refused.size(), 2u);
  world_.call("f");
  ASSERT_EQ(world_.refused.size(), 3u);
  EXPECT_EQ(world_.refused[2].error.code, "function_failed");
  EXPECT_EQ(world_.state("f"), State::Failed);
}

TEST_F(TrafficTest, SplitWithABrokenNewcomer_TakesOverWithoutIt) {
  set({served(3)});
  take(1);
  set({served(3, 90), served(4, 10)});
  crash();
  EXPECT_EQ(weights(), (Weights{{3, 90}, {4, 10}}));
  EXPECT_TRUE(decided("fallback", "revision 3 takes its calls"));
  EXPECT_EQ(take(100), (std::map<int, int>{{3, 100}}));
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(TrafficTest, NewcomerThatDoesNotFit_IsWaitedForNoLonger) {
  set({served(3)});
  take(1);
  Served big = served(4, 10);
  big.manifest.resources.memory_bytes = 5000 * kMB;
  world_.post(TrafficSet{"f", {served(3, 90), big}});
  prepare();
  EXPECT_EQ(weights(), (Weights{{3, 90}, {4, 10}}));
  EXPECT_EQ(take(10), (std::map<int, int>{{3, 10}}));
  EXPECT_TRUE(decided("fallback", "needs 5.0 GB"));
}

TEST_F(TrafficTest, SplitOfNewcomersThatAllFail_LeavesTheOldOneServing) {
  set({served(3)});
  take(1);
  set({served(4, 50), served(5, 50)});
  crash();
  EXPECT_EQ(weights(), (Weights{{3, 100}, {4, 0}, {5, 0}}));
  crash();
  EXPECT_EQ(weights(), (Weights{{3, 100}}));
  EXPECT_NE(world_.brain.function("f")->reason.find("did not start"), std::string::npos);
  EXPECT_EQ(take(10), (std::map<int, int>{{3, 10}}));
}

TEST_F(TrafficTest, OldRevisionReturns_UnderItsOwnNumber) {
  set({served(3)});
  take(1);
  set({served(4)});
  ready();
  EXPECT_EQ(take(1).begin()->first, 4);
  EXPECT_EQ(live(3), 0);
  set({served(3)});
  EXPECT_EQ(weights(), (Weights{{4, 100}, {3, 0}}));
  const CallId meanwhile = world_.call("f");
  EXPECT_EQ(revision_of(meanwhile), 4);
  ready();
  world_.post(CallEnded{meanwhile});
  EXPECT_EQ(take(1).begin()->first, 3);
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(TrafficTest, RollbackBeforeTheNewOneIsReady_KeepsTheOld) {
  set({served(3)});
  take(1);
  set({served(4)});
  ASSERT_EQ(world_.started.size(), 2u);
  set({served(3)});
  EXPECT_EQ(weights(), (Weights{{3, 100}}));
  ready();  // nobody waits for it any more
  EXPECT_EQ(live(4), 0);
  EXPECT_EQ(take(5), (std::map<int, int>{{3, 5}}));
}

TEST_F(TrafficTest, NewcomerAskedForTwice_IsStartedOnce) {
  set({served(3)});
  take(1);
  set({served(4)});
  set({served(3, 10), served(4, 90)});
  set({served(4)});
  EXPECT_EQ(world_.started.size(), 2u);
  ready();
  EXPECT_EQ(weights(), (Weights{{4, 100}}));
  EXPECT_EQ(take(1).begin()->first, 4);
}

TEST_F(TrafficTest, DroppedNewcomerThatStillLoads_ServesWithItsModelKnown) {
  set({served(3)});
  take(1);
  set({served(4)});
  set({served(3)});
  set({served(4)});  // the replica of the first wish is on its way
  ready();
  prepare();
  EXPECT_EQ(take(1).begin()->first, 4);
  EXPECT_TRUE(world_.brain.generation("f", 4));
  EXPECT_FALSE(world_.brain.generation("f", 3));
}

TEST_F(TrafficTest, SameSplitAgain_ChangesNothing) {
  set({served(3, 90), served(4, 10)});
  take(10);
  set({served(3, 90), served(4, 10)});
  EXPECT_EQ(world_.started.size(), 2u);
  EXPECT_TRUE(world_.stopped.empty());
  EXPECT_FALSE(decided("switch"));
}

TEST_F(TrafficTest, RevisionThatIsPinned_GoesOnWithItsReplicas) {
  set({served(3)});
  take(1);
  Served pinned = served(3);
  pinned.manifest.model_sha256 = "abc";
  set({pinned});
  EXPECT_EQ(world_.started.size(), 1u);
  EXPECT_TRUE(world_.stopped.empty());
  EXPECT_EQ(world_.brain.generation("f", 3)->manifest.model_sha256, "abc");
}

TEST_F(TrafficTest, RevisionThatRunsAlike_TakesTheReplicasOver) {
  set({served(3)});
  take(1);
  Served alike = served(3);
  alike.revision = 4;
  alike.manifest.keep_alive = 1s;
  set({alike});
  EXPECT_EQ(take(1).begin()->first, 4);
  set({served(3)});
  EXPECT_EQ(take(1).begin()->first, 3);
  EXPECT_EQ(world_.started.size(), 1u);
}

TEST_F(TrafficTest, DeployOverASplit_ReplacesAllOfItOnceReady) {
  set({served(3, 50), served(4, 50)});
  take(2);
  world_.post(FunctionPut{served(5).manifest, 5});
  prepare();
  EXPECT_EQ(weights(), (Weights{{3, 50}, {4, 50}, {5, 0}}));
  ready();
  EXPECT_EQ(weights(), (Weights{{5, 100}}));
  EXPECT_EQ(world_.stopped.size(), 2u);
  EXPECT_EQ(take(3), (std::map<int, int>{{5, 3}}));
}

TEST_F(TrafficTest, ColdFunction_SwitchesAtOnceAndStartsWhatIsChosen) {
  set({served(3)});
  set({served(4, 90), served(5, 10)});
  EXPECT_EQ(weights(), (Weights{{4, 90}, {5, 10}}));
  EXPECT_TRUE(world_.started.empty());
  world_.call("f");
  ASSERT_EQ(world_.started.size(), 1u);
  EXPECT_EQ(world_.started[0].revision, 4);
}

TEST_F(TrafficTest, SplitThatIsRestored_PreparesEachModelAndStartsNone) {
  world_.post(TrafficSet{"f", {served(3, 90), served(4, 10)}});
  EXPECT_EQ(world_.prepared.size(), 2u);
  prepare();
  EXPECT_TRUE(world_.started.empty());
  EXPECT_EQ(world_.state("f"), State::Cold);
  EXPECT_TRUE(decided("deploy", "revision 3: 90, 4: 10"));
}

TEST_F(TrafficTest, ShorterQueueTimeoutOfOneGeneration_IsKept) {
  Served patient = served(3, 50), brief = served(4, 50);
  brief.manifest.limits.queue_timeout = 2s;
  set({patient, brief});
  world_.call("f");
  const CallId second = world_.call("f");
  world_.pass(3s);
  ASSERT_EQ(world_.refused.size(), 1u);
  EXPECT_EQ(world_.refused[0].call, second);
  EXPECT_GT(*world_.last.wake_at, world_.now);
}

TEST_F(TrafficTest, IdleGenerations_StopEachAfterKeepAlive) {
  Served a = served(3, 50), b = served(4, 50);
  a.manifest.keep_alive = b.manifest.keep_alive = 10s;
  set({a, b});
  take(2);
  world_.pass(11s);
  EXPECT_EQ(world_.stopped.size(), 2u);
}

TEST_F(TrafficTest, MinimumAndWarmth_HoldForEachGeneration) {
  Served a = served(3, 50), b = served(4, 50);
  a.manifest.scale.min = b.manifest.scale.min = 1;
  set({a, b});
  EXPECT_EQ(world_.started.size(), 2u);
  world_.post(WarmWanted{"f", 3, 60s});
  ready();
  EXPECT_EQ(live(3), 3);
  EXPECT_EQ(live(4), 1);
}

TEST_F(TrafficTest, MemoryForOneMoreOnly_SplitStillTakesOver) {
  world_.~World();
  new (&world_) World(200);
  set({served(3)});
  take(1);
  const CallId held = world_.call("f");
  set({served(3, 50), served(4, 25), served(5, 25)});
  ready();  // 4; makes room for 5
  for (const domain::ProcessId id : world_.stopped) world_.post(ProcessGone{id, "asked"});
  ready();
  EXPECT_EQ(weights(), (Weights{{3, 50}, {4, 25}, {5, 25}}));
  world_.post(CallEnded{held});
  EXPECT_TRUE(world_.refused.empty());
  EXPECT_LE(world_.started.size(), 4u);
}

TEST_F(TrafficTest, TwoGenerationsInRoomForOne_TakeTurns) {
  world_.~World();
  new (&world_) World(100);
  set({served(3, 50), served(4, 50)});
  const CallId three = world_.call("f"), four = world_.call("f");
  prepare();
  ready();
  ASSERT_NE(revision_of(three), 0);
  EXPECT_EQ(revision_of(four), 0);
  world_.post(CallEnded{three});
  for (const domain::ProcessId id : world_.stopped) world_.post(ProcessGone{id, "asked"});
  ready();
  EXPECT_EQ(revision_of(four), 4);
  EXPECT_TRUE(world_.refused.empty());
}

TEST_F(TrafficTest, DomainsAreKeptApart_WithinEachGeneration) {
  set({served(3, 50), served(4, 50)});
  for (int i = 0; i < 4; ++i) {
    const CallId call = world_.call("f", 1, {}, {.salt = i < 2 ? "a" : "b"});
    prepare();
    ready();
    EXPECT_EQ(revision_of(call), i % 2 == 0 ? 3 : 4);
  }
  EXPECT_EQ(live(3), 2);
  EXPECT_EQ(live(4), 2);
}

TEST_F(TrafficTest, DeletedFunction_TakesAllItsGenerations) {
  set({served(3, 50), served(4, 50)});
  take(2);
  set({served(3, 30), served(5, 70)});
  ready();
  world_.post(FunctionDeleted{"f"});
  EXPECT_EQ(world_.stopped.size(), 3u);
  EXPECT_FALSE(world_.brain.function("f"));
}

}  // namespace
}  // namespace glowplug::control
