// Replicas that die while they serve: crash loops, quarantine, and requests that are to blame.
#include <algorithm>

#include "control/test_world.h"
#include "domain/errors.h"
#include "policy/retry.h"

namespace glowplug::control {
namespace {

const std::string kAbort = "killed by signal 6 (Aborted)";

class Crashes : public ::testing::Test {
 protected:
  Crashes() {
    domain::Manifest made = world_.manifest("f");
    made.slots = 4;
    made.scale.max = 3;
    made.keep_alive = kForever;
    world_.deploy(made);
  }

  domain::CallId call(std::optional<domain::CallId> retry_of = {}) {
    const domain::CallId id{++world_.calls};
    world_.post(CallArrived{.call = id,
                            .function = "f",
                            .deadline = world_.now + 3600s,
                            .keep_alive = {},
                            .retry_of = retry_of});
    return id;
  }
  std::size_t starts() const { return world_.started.size(); }
  // What was started last is ready.
  void ready() { world_.ready(starts() - 1); }
  std::optional<domain::ProcessId> granted(domain::CallId id) const {
    for (const GrantCall& one : world_.granted)
      if (one.call == id) return one.replica;
    return std::nullopt;
  }
  const RefuseCall* refused(domain::CallId id) const {
    for (const RefuseCall& one : world_.refused)
      if (one.call == id) return &one;
    return nullptr;
  }
  // A call that has a replica, from a start where that is needed.
  domain::CallId served(std::optional<domain::CallId> retry_of = {}) {
    const std::size_t before = starts();
    const domain::CallId id = call(retry_of);
    if (starts() > before) ready();
    EXPECT_TRUE(granted(id)) << id.value;
    return id;
  }
  void answered(domain::CallId id) { world_.post(CallEnded{id}); }
  // The gateway sees the end of the answer, then the process is reaped; or the other way round.
  void dies_of(domain::CallId id, const std::string& cause = kAbort + ": assertion",
               Ending ending = Ending::Itself) {
    const domain::ProcessId replica = *granted(id);
    world_.post(CallEnded{id, CallOutcome::ReplicaBroke});
    world_.post(ProcessGone{replica, cause, ending});
  }
  void die(int times, const std::string& cause = kAbort, Ending ending = Ending::Itself) {
    for (int i = 0; i < times; ++i) {
      dies_of(served(), cause, ending);
      world_.now += 1s;
    }
  }
  // Of a request that kills what runs it: the first death and that of its retry.
  bool is_blamed_after_two_deaths() {
    const domain::CallId first = served();
    dies_of(first);
    const domain::CallId second = served(first);
    const domain::ProcessId replica = *granted(second);
    world_.post(ProcessGone{replica, kAbort + ": assertion", Ending::Itself});
    const bool blamed = world_.brain.blames(second) == Blamed::Yes;
    world_.post(CallEnded{second, CallOutcome::ReplicaBroke});
    return blamed;
  }
  // Of the four cores, so that there is room for more replicas up to this many.
  void take_a_core_each(int most) {
    domain::Manifest made = world_.brain.function("f")->manifest;
    made.resources.threads = 1;
    made.scale.max = most;
    world_.deploy(made, 2);
  }
  bool decided(const std::string& decision) const {
    return std::any_of(world_.decisions.begin(), world_.decisions.end(),
                       [&](const Decision& one) { return one.decision == decision; });
  }
  bool is_shut() {
    const RefuseCall* one = refused(call());
    return one != nullptr && one->error.code == domain::error::kFunctionFailed;
  }

  World world_;
};

// --- crash loops ---

TEST_F(Crashes, FiveDeathsOfOneCauseWithinAMinute_RefuseCallsAtOnce) {
  die(4);
  EXPECT_EQ(world_.state("f"), domain::State::Cold);
  die(1);
  const std::size_t before = starts();
  const RefuseCall* one = refused(call());
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->error.code, domain::error::kFunctionFailed);
  EXPECT_GE(one->retry_after_s, 9);  // a second of it is over
  EXPECT_LE(one->retry_after_s, 13);
  EXPECT_EQ(starts(), before);
  EXPECT_EQ(world_.state("f"), domain::State::Failed);
  const std::string reason = world_.brain.function("f")->reason;
  EXPECT_NE(reason.find("keeps crashing: 5 of its replicas died within 1m (" + kAbort + ")"),
            std::string::npos)
      << reason;
  EXPECT_TRUE(decided("quarantine"));
}

TEST_F(Crashes, AfterThePause_OneCallIsLetThroughAndItsAnswerEndsTheQuarantine) {
  die(5);
  world_.pass(13s);
  const domain::CallId probe = call();
  const RefuseCall* other = refused(call());
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(other->retry_after_s, 2);
  ready();
  ASSERT_TRUE(granted(probe));
  EXPECT_TRUE(is_shut());  // until it is answered
  answered(probe);
  EXPECT_TRUE(decided("recovered"));
  EXPECT_TRUE(granted(call()));
  die(4);  // it begins anew
  EXPECT_TRUE(granted(served()));
}

TEST_F(Crashes, ProbeThatDies_DoublesThePause) {
  die(5);
  for (const Duration pause : {20s, 40s, 45s, 45s}) {
    world_.pass(60s);
    dies_of(served());
    const RefuseCall* one = refused(call());
    ASSERT_NE(one, nullptr);
    EXPECT_GE(std::chrono::seconds(one->retry_after_s), pause);
    EXPECT_LE(std::chrono::seconds(one->retry_after_s), pause * 5 / 4 + 1s);
    EXPECT_LE(one->retry_after_s, 60);
  }
}

TEST_F(Crashes, ProbeThatLeaves_GivesTheTrialToTheNext) {
  die(5);
  world_.pass(13s);
  world_.post(CallAbandoned{call()});
  const domain::CallId second = call();
  ready();
  world_.post(CallEnded{second, CallOutcome::Stopped});  // its caller left in the midst
  const domain::CallId third = served();
  EXPECT_TRUE(is_shut());
  answered(third);
  EXPECT_TRUE(granted(call()));
}

TEST_F(Crashes, WhatIsNoCrashLoop_GoesOn) {
  const std::string exited = "exited with status 3";
  die(4);
  die(4, exited);
  EXPECT_TRUE(granted(served()));
  die(9, "killed by signal 9 (Killed)", Ending::Killed);  // from outside
  die(9, "stopped", Ending::Asked);
  EXPECT_TRUE(granted(served()));
  for (int i = 0; i < 9; ++i) {
    world_.pass(16s);
    die(1, "killed by signal 11 (Segmentation fault)");
  }
  EXPECT_TRUE(granted(served()));
}

TEST_F(Crashes, OutOfMemoryAndIdleDeaths_AreCrashes) {
  die(4, "killed by the kernel: over its memory limit of 1.0 GB", Ending::OutOfMemory);
  const domain::CallId last = served();
  answered(last);
  world_.post(ProcessGone{*granted(last), "killed by the kernel: over its memory limit of 1.1 GB",
                          Ending::OutOfMemory});
  EXPECT_TRUE(is_shut());
}

TEST_F(Crashes, EndSeenBeforeItsBrokenAnswers_CountsTheSame) {
  for (int i = 0; i < 5; ++i) {
    const domain::CallId id = served();
    world_.post(ProcessGone{*granted(id), kAbort, Ending::Itself});
    world_.post(CallEnded{id, CallOutcome::ReplicaBroke});
  }
  EXPECT_TRUE(is_shut());
}

TEST_F(Crashes, ReplicaThatIsLeft_TakesNoCallsInQuarantine) {
  world_.post(WarmWanted{"f", 2, 3600s});
  world_.ready(0);
  world_.ready(1);
  while (!decided("quarantine")) {
    const domain::CallId id = call();
    ASSERT_TRUE(granted(id));
    dies_of(id);
    ready();
  }
  EXPECT_GT(world_.brain.replicas(), 0u);
  EXPECT_TRUE(is_shut());
  EXPECT_EQ(world_.state("f"), domain::State::Failed);
}

TEST_F(Crashes, WhoWaitsBesideOneThatIsLeft_IsToldOfTheQuarantine) {
  world_.post(WarmWanted{"f", 2, 3600s});
  world_.ready(0);
  world_.ready(1);
  for (int i = 0; i < 4; ++i) {
    const domain::CallId id = call();
    ASSERT_TRUE(granted(id));
    dies_of(id);
    ready();  // two are there again
  }
  std::vector<domain::CallId> all;
  for (int i = 0; i < 10; ++i) all.push_back(call());
  ASSERT_TRUE(granted(all[0]) && granted(all[7]));
  ASSERT_FALSE(granted(all[8]) || granted(all[9]));
  dies_of(all[0]);
  ASSERT_TRUE(decided("quarantine"));
  EXPECT_GT(world_.brain.replicas(), 0u);
  for (const domain::CallId id : {all[8], all[9]}) {
    ASSERT_TRUE(refused(id)) << id.value;
    EXPECT_EQ(refused(id)->error.code, domain::error::kFunctionFailed);
    EXPECT_GE(refused(id)->retry_after_s, 10);
  }
}

TEST_F(Crashes, Neighbour_IsUntouched) {
  world_.deploy(world_.manifest("g"));
  die(5);
  world_.serve("g");
  EXPECT_EQ(world_.state("g"), domain::State::Ready);
  EXPECT_EQ(world_.granted.back().replica, world_.started.back().process);
}

TEST_F(Crashes, DeployAnew_EndsTheQuarantine) {
  die(5);
  domain::Manifest made = world_.brain.function("f")->manifest;
  world_.post(FunctionPut{made, 1});  // the same again
  EXPECT_TRUE(granted(served()));
  die(4);
  EXPECT_TRUE(granted(served()));  // what was before is forgotten
  die(1);
  EXPECT_TRUE(is_shut());
  made.context = 4096;
  world_.deploy(made, 2);
  EXPECT_TRUE(granted(served()));
}

TEST_F(Crashes, DeployAnew_EndsTheTrial) {
  EXPECT_FALSE(world_.brain.function("f")->quarantined);
  die(5);
  EXPECT_TRUE(world_.brain.function("f")->quarantined);
  world_.pass(13s);
  const domain::CallId probe = served();
  EXPECT_EQ(world_.state("f"), domain::State::Ready);
  EXPECT_TRUE(world_.brain.function("f")->quarantined);
  world_.post(FunctionPut{world_.brain.function("f")->manifest, 1});
  EXPECT_FALSE(world_.brain.function("f")->quarantined);
  EXPECT_TRUE(granted(call()));
  answered(probe);
  EXPECT_FALSE(decided("recovered"));  // it had no trial to end
}

TEST_F(Crashes, AnotherRevision_StandsInForTheOneInQuarantine) {
  const domain::Manifest made = world_.brain.function("f")->manifest;
  domain::Manifest other = made;
  other.context = 4096;
  world_.post(TrafficSet{.function = "f", .served = {{made, 1, 50}, {other, 2, 50}}});
  world_.post(ModelPrepared{"f", 2, {}});
  const auto revision_of = [this](domain::CallId id) {
    return std::find_if(world_.granted.begin(), world_.granted.end(),
                        [id](const GrantCall& one) { return one.call == id; })
        ->revision;
  };
  for (int i = 0; i < 20; ++i) {  // the second one dies of all
    const domain::CallId id = served();
    revision_of(id) == 2 ? dies_of(id) : answered(id);
  }
  EXPECT_TRUE(decided("quarantine"));
  for (int i = 0; i < 10; ++i) {
    const domain::CallId id = served();
    EXPECT_EQ(revision_of(id), 1);
    answered(id);
  }
}

// --- requests that kill ---

TEST_F(Crashes, CallsWhoseReplicaDied_AreTriedAgainOneAfterTheOther) {
  const domain::CallId a = served(), b = call(), c = call();
  const domain::ProcessId replica = *granted(a);
  for (const domain::CallId id : {a, b, c}) {
    ASSERT_EQ(granted(id), replica);
    world_.post(CallEnded{id, CallOutcome::ReplicaBroke});
  }
  const domain::CallId a2 = call(a), b2 = call(b), c2 = call(c), d = call();
  world_.post(ProcessGone{replica, kAbort, Ending::Itself});
  ready();
  EXPECT_TRUE(granted(a2));
  EXPECT_FALSE(granted(b2));
  EXPECT_FALSE(granted(d));
  answered(a2);
  EXPECT_TRUE(granted(b2));
  EXPECT_FALSE(granted(c2));
  answered(b2);
  EXPECT_TRUE(granted(c2));
  EXPECT_FALSE(granted(d));
  answered(c2);
  EXPECT_TRUE(granted(d));
}

TEST_F(Crashes, BusyReplica_IsClearedForACallThatMustBeAlone) {
  const domain::CallId a = served(), b = call();
  const domain::CallId again = call(domain::CallId{77});
  EXPECT_FALSE(granted(again));
  const domain::CallId late = call();
  EXPECT_FALSE(granted(late));  // else it would never be alone
  answered(a);
  EXPECT_FALSE(granted(again));
  answered(b);
  EXPECT_TRUE(granted(again));
  EXPECT_FALSE(granted(late));
  world_.post(CallEnded{again, CallOutcome::Stopped});
  EXPECT_TRUE(granted(late));
}

TEST_F(Crashes, OthersGoOnBesideAReplicaThatIsCleared) {
  world_.post(WarmWanted{"f", 2, 3600s});
  world_.ready(0);
  world_.ready(1);
  std::vector<domain::CallId> running;
  for (int i = 0; i < 5; ++i) running.push_back(call());  // four on one of them
  answered(running.front());
  running.erase(running.begin());
  const domain::CallId again = call(domain::CallId{77});
  EXPECT_FALSE(granted(again));
  EXPECT_TRUE(granted(call()));  // on the busier one
  for (const domain::CallId id : running) answered(id);
  EXPECT_TRUE(granted(again));
}

TEST_F(Crashes, BelowMax_ACallThatMustBeAloneGetsOneMoreReplica) {
  take_a_core_each(3);
  const domain::CallId busy = served();
  const domain::CallId again = call(domain::CallId{77});
  ASSERT_EQ(starts(), 2u);
  EXPECT_EQ(granted(call()), granted(busy));  // nobody is kept from the busy one
  ready();
  ASSERT_TRUE(granted(again));
  EXPECT_NE(granted(again), granted(busy));
  EXPECT_EQ(starts(), 2u);
}

TEST_F(Crashes, OnceThereIsRoomForOneMore_NobodyIsKeptFromTheBusyOne) {
  take_a_core_each(3);
  const domain::CallId busy = served();
  world_.post(MemorySetAside{850 * kMB});
  const domain::CallId again = call(domain::CallId{77}), late = call();
  EXPECT_EQ(starts(), 1u);
  EXPECT_FALSE(granted(again) || granted(late));
  world_.post(MemorySetAside{0});
  EXPECT_EQ(starts(), 2u);
  EXPECT_EQ(granted(late), granted(busy));
  ready();
  EXPECT_TRUE(granted(again));
}

TEST_F(Crashes, AtMax_OneReplicaAtATimeIsKeptFromOthers) {
  take_a_core_each(2);
  world_.post(WarmWanted{"f", 2, 3600s});
  world_.ready(0);
  world_.ready(1);
  std::vector<domain::CallId> running;
  for (int i = 0; i < 5; ++i) running.push_back(call());
  ASSERT_NE(granted(running[4]), granted(running[0]));
  answered(running[0]);
  const domain::CallId once = call(domain::CallId{77}), twice = call(domain::CallId{78});
  EXPECT_FALSE(granted(once) || granted(twice));
  EXPECT_EQ(granted(call()), granted(running[1]));
  answered(running[4]);
  EXPECT_EQ(granted(once), granted(running[4]));
  answered(running[1]);
  EXPECT_EQ(granted(call()), granted(running[2]));  // the second one waits for where the first is
  answered(once);
  EXPECT_EQ(granted(twice), granted(once));
  EXPECT_EQ(starts(), 2u);
}

TEST_F(Crashes, RequestThatKilledTwo_IsBlamedAndNotTheFunction) {
  for (int i = 0; i < 20; ++i) {
    answered(served());
    EXPECT_TRUE(is_blamed_after_two_deaths());
    world_.now += 9s;  // as often as retries come to be
  }
  EXPECT_TRUE(granted(served()));
  EXPECT_TRUE(decided("blame"));
  EXPECT_FALSE(decided("quarantine"));
}

TEST_F(Crashes, RequestIsBlamed_AlsoWhenTheEndIsSeenFirst) {
  answered(served());
  const domain::CallId first = served();
  dies_of(first);
  const domain::CallId second = served(first);
  world_.post(ProcessGone{*granted(second), kAbort, Ending::Itself});
  EXPECT_EQ(world_.brain.blames(second), Blamed::Yes);
}

TEST_F(Crashes, UntilTheReplicasEndIsSeen_ItIsOpenWhoIsToBlame) {
  answered(served());
  const domain::CallId first = served();
  EXPECT_EQ(world_.brain.blames(first), Blamed::No);  // tried again, whatever became of its replica
  dies_of(first);
  const domain::CallId second = served(first);
  EXPECT_EQ(world_.brain.blames(second), Blamed::Open);
  dies_of(second);
  EXPECT_TRUE(decided("blame"));
}

TEST_F(Crashes, ReplicaThatBreaksOffAndLives_SaysNothingOfTheRequest) {
  answered(served());
  const domain::CallId first = served();
  dies_of(first);
  const domain::CallId second = served(first);
  world_.post(CallEnded{second, CallOutcome::ReplicaBroke});
  EXPECT_EQ(world_.brain.blames(second), Blamed::No);
  ASSERT_EQ(world_.stopped.back(), *granted(second));
  world_.post(ProcessGone{world_.stopped.back(), "stopped", Ending::Asked});
  EXPECT_FALSE(decided("blame"));
}

TEST_F(Crashes, ReplicaThatIsKilledFromOutside_SaysNothingOfTheRequest) {
  answered(served());
  const domain::CallId first = served();
  dies_of(first);
  const domain::CallId second = served(first);
  world_.post(ProcessGone{*granted(second), "killed by signal 9 (Killed)", Ending::Killed});
  EXPECT_EQ(world_.brain.blames(second), Blamed::No);
}

TEST_F(Crashes, FunctionThatAnswersNobody_IsInALoopWhateverItsCallsDo) {
  EXPECT_FALSE(is_blamed_after_two_deaths());
  EXPECT_FALSE(is_blamed_after_two_deaths());
  dies_of(served());
  EXPECT_TRUE(is_shut());
}

TEST_F(Crashes, FunctionThatBeginsToDieOfAllCalls_IsInALoopSoon) {
  for (int i = 0; i < 50; ++i) answered(served());
  for (int i = 0; i < policy::kAnswersMax; ++i) EXPECT_TRUE(is_blamed_after_two_deaths());
  for (int i = 0; i < policy::kCrashLoop / 2; ++i) EXPECT_FALSE(is_blamed_after_two_deaths());
  dies_of(served());
  EXPECT_TRUE(is_shut());
}

TEST_F(Crashes, AnswerAfterwards_ShowsThatTheRequestWasToBlame) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(is_blamed_after_two_deaths());
    answered(served());
  }
  EXPECT_FALSE(decided("quarantine"));
}

TEST_F(Crashes, RetryOnTrial_IsRefused) {
  die(5);
  world_.pass(13s);
  const domain::CallId probe = served();
  world_.post(CallEnded{probe, CallOutcome::ReplicaBroke});
  const domain::CallId again = call(probe);
  EXPECT_TRUE(refused(again));
}

TEST_F(Crashes, RetriesBeyondTheBudget_AreRefused) {
  answered(served());
  for (int i = 0; i < 10; ++i) answered(served(domain::CallId{1000}));
  const RefuseCall* one = refused(call(domain::CallId{1000}));
  ASSERT_NE(one, nullptr);
  EXPECT_EQ(one->error.code, domain::error::kReplicaFailed);
  EXPECT_EQ(world_.brain.function("f")->calls, 1u);  // a retry is no other call
}

}  // namespace
}  // namespace glowplug::control
