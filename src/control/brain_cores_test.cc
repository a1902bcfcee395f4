// Which threads replicas compute with, in the brain: as their neighbours start to work and end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Set = std::pair<std::uint64_t, int>;  // process, threads

class Cores : public testing::Test {
 protected:
  domain::Manifest built_in(const std::string& name, int declared = 0) const {
    domain::Manifest made = world_.manifest(name);
    made.engine.kind = domain::EngineKind::Llama;
    made.resources.threads = declared;
    return made;
  }
  void deploy(const std::string& name, int declared = 0) {
    world_.deploy(built_in(name, declared));
  }
  // A replica that is ready and has nothing to do.
  void idle(const std::string& name, int declared = 0) {
    deploy(name, declared);
    world_.serve(name);
    world_.set.clear();
  }
  void end(domain::CallId call) { world_.post(CallEnded{call}); }
  std::vector<Set> told() { return std::exchange(world_.set, {}); }
  int threads(const std::string& name) const {
    return world_.brain.function(name)->replicas.at(0).threads;
  }

  World world_{{.memory_bytes = 1000 * kMB, .cores = 4}};
};

TEST_F(Cores, SecondThatWorks_TakesHalf_AndGivesItBack) {
  idle("a");
  idle("b");
  const domain::CallId first = world_.call("a");
  EXPECT_THAT(told(), IsEmpty());  // alone it has all
  const domain::CallId second = world_.call("b");
  EXPECT_THAT(told(), ElementsAre(Set{1, 2}, Set{2, 2}));
  EXPECT_EQ(threads("a"), 2);
  EXPECT_EQ(threads("b"), 2);
  end(second);
  EXPECT_THAT(told(), ElementsAre(Set{1, 4}));
  end(first);
  EXPECT_THAT(told(), IsEmpty());  // nothing to do for either
  world_.call("b");
  EXPECT_THAT(told(), ElementsAre(Set{2, 4}));
}

TEST_F(Cores, FurtherCallsOnOneThatWorks_ChangeNothing) {
  idle("a");
  idle("b");
  world_.call("a");
  world_.call("b");
  told();
  const domain::CallId more = world_.call("a");
  end(more);
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(Cores, ThatDoNotDivide_AreRoundedDown) {
  for (const char* name : {"a", "b", "c"}) idle(name);
  for (const char* name : {"a", "b", "c"}) world_.call(name);
  EXPECT_THAT(told(), ElementsAre(Set{1, 2}, Set{2, 2}, Set{1, 1}, Set{2, 1}, Set{3, 1}));
}

TEST_F(Cores, Declared_Stay_AndTheOthersShareTheRest) {
  idle("declared", 3);
  idle("a");
  world_.call("a");
  const domain::CallId call = world_.call("declared");
  EXPECT_THAT(told(), ElementsAre(Set{2, 1}));
  EXPECT_EQ(threads("declared"), 3);
  end(call);
  EXPECT_THAT(told(), ElementsAre(Set{2, 4}));
}

TEST_F(Cores, ReplicaThatStarts_TakesItsShareFromThenOn) {
  idle("a");
  const domain::CallId busy = world_.call("a");
  deploy("b");
  const domain::CallId call = world_.call("b");
  EXPECT_EQ(world_.started.back().threads, 2);
  EXPECT_EQ(world_.started.back().cores, 4);
  EXPECT_THAT(told(), ElementsAre(Set{1, 2}));
  end(busy);  // one that loads does not hear of it yet
  EXPECT_THAT(told(), IsEmpty());
  world_.ready(1);
  EXPECT_THAT(told(), ElementsAre(Set{2, 4}));
  end(call);
}

TEST_F(Cores, StartThatFails_GivesItsShareBack) {
  idle("a");
  world_.call("a");
  deploy("b");
  world_.call("b");
  told();
  world_.post(ProcessGone{world_.started.back().process, "it ended", Ending::Itself});
  EXPECT_THAT(told(), ElementsAre(Set{1, 4}));
}

TEST_F(Cores, ReplicaThatCrashesAtWork_GivesItsShareBack) {
  idle("a");
  idle("b");
  world_.call("a");
  world_.call("b");
  told();
  world_.post(ProcessGone{world_.started.back().process, "it ended", Ending::Itself});
  EXPECT_THAT(told(), ElementsAre(Set{1, 4}));
}

TEST_F(Cores, ReplicaThatDrains_KeepsItsShareUntilItsCallsEnd) {
  idle("a");
  idle("b");
  world_.call("a");
  const domain::CallId last = world_.call("b");
  told();
  world_.post(StopWanted{"b"});
  EXPECT_THAT(told(), IsEmpty());
  end(last);
  EXPECT_THAT(told(), ElementsAre(Set{1, 4}));
}

class BatchWork : public Cores {
 protected:
  void batch(const std::string& name, int declared = 0) {
    domain::Manifest made = built_in(name, declared);
    made.priority = domain::Priority::Batch;
    world_.deploy(made);
    world_.serve(name);
  }
  std::vector<std::pair<std::uint64_t, bool>> froze() { return std::exchange(world_.frozen, {}); }
};
using Froze = std::pair<std::uint64_t, bool>;

TEST_F(BatchWork, StandsStillWhileOthersWork) {
  batch("b");
  idle("a");
  const domain::CallId slow = world_.call("b");
  const domain::CallId quick = world_.call("a");
  EXPECT_THAT(froze(), ElementsAre(Froze{1, true}));
  EXPECT_TRUE(world_.brain.function("b")->replicas.at(0).frozen);
  EXPECT_EQ(threads("a"), 4);
  EXPECT_EQ(threads("b"), 4);  // with how many it works when it does
  end(quick);
  EXPECT_THAT(froze(), ElementsAre(Froze{1, false}));
  end(slow);
  EXPECT_THAT(froze(), IsEmpty());
}

TEST_F(BatchWork, RedeployedAsOther_GoesOn_AndYieldsNoMore) {
  batch("b");
  idle("a");
  world_.call("b");
  const domain::CallId quick = world_.call("a");
  EXPECT_THAT(froze(), ElementsAre(Froze{1, true}));
  world_.post(FunctionPut{built_in("b"), 2});
  EXPECT_THAT(froze(), ElementsAre(Froze{1, false}));
  EXPECT_EQ(threads("a"), 2);
  end(quick);
  world_.call("a");
  EXPECT_THAT(froze(), IsEmpty());
}

TEST_F(BatchWork, RedeployedAsSuch_Yields) {
  idle("b");
  idle("a");
  domain::Manifest later = built_in("b");
  later.priority = domain::Priority::Batch;
  world_.post(FunctionPut{later, 2});
  world_.call("b");
  world_.call("a");
  EXPECT_THAT(froze(), ElementsAre(Froze{1, true}));
}

TEST_F(BatchWork, StandsStillWhileAnotherStarts_WhichHasAllCores) {
  batch("b");
  world_.call("b");
  deploy("a");
  const domain::CallId call = world_.call("a");
  EXPECT_EQ(world_.started.back().threads, 4);
  EXPECT_THAT(froze(), ElementsAre(Froze{1, true}));
  world_.ready(1);
  EXPECT_THAT(froze(), IsEmpty());
  end(call);
  EXPECT_THAT(froze(), ElementsAre(Froze{1, false}));
}

TEST_F(BatchWork, HasItsTimeAfterTenSeconds) {
  batch("b");
  idle("a");
  world_.call("b");
  world_.call("a");
  froze();
  world_.pass(10s);
  EXPECT_THAT(froze(), ElementsAre(Froze{1, false}));
  EXPECT_EQ(threads("a"), 2);
  EXPECT_EQ(threads("b"), 2);
  world_.pass(1999ms);
  EXPECT_THAT(froze(), IsEmpty());
  world_.pass(1ms);
  EXPECT_THAT(froze(), ElementsAre(Froze{1, true}));
  EXPECT_EQ(threads("a"), 4);
}

TEST_F(BatchWork, WhoseCallsEnd_IsFrozenNoMore) {
  batch("b");
  idle("a");
  const domain::CallId given_up = world_.call("b");
  world_.call("a");
  froze();
  end(given_up);
  EXPECT_THAT(froze(), ElementsAre(Froze{1, false}));
}

TEST_F(BatchWork, ThatIsToEnd_GoesOn) {
  batch("b");
  idle("a");
  world_.call("b");
  world_.call("a");
  froze();
  world_.post(StopWanted{"b"});
  EXPECT_THAT(froze(), ElementsAre(Froze{1, false}));
}

TEST_F(BatchWork, ThatFindsCoresFree_GoesOn) {
  batch("b");
  idle("a", 3);
  world_.call("b");
  told();
  world_.call("a");
  EXPECT_THAT(froze(), IsEmpty());
  EXPECT_THAT(told(), ElementsAre(Set{1, 1}));
}

TEST_F(BatchWork, Alone_SharesAsOthersDo) {
  batch("b");
  batch("c");
  world_.call("b");
  world_.call("c");
  EXPECT_THAT(froze(), IsEmpty());
  EXPECT_EQ(threads("b"), 2);
  EXPECT_EQ(threads("c"), 2);
}

TEST_F(Cores, WhatCannotBeTold_CountsAllTheSame) {
  idle("a");
  world_.deploy(world_.manifest("fake"));
  world_.serve("fake");
  world_.call("a");
  told();
  world_.call("fake");
  EXPECT_THAT(told(), ElementsAre(Set{1, 2}));
  EXPECT_EQ(threads("fake"), 4);
}

// What may be set later must fit the limits of the start.
TEST_F(Cores, LimitsOfAStart_AllowAllCores_UnlessThreadsAreDeclared) {
  idle("a");
  world_.call("a");
  deploy("b");
  world_.call("b");
  EXPECT_EQ(world_.started.back().limits.cpu_cores, 4.5);
  deploy("c", 1);
  world_.call("c");
  EXPECT_EQ(world_.started.back().limits.cpu_cores, 1.5);
  EXPECT_EQ(world_.started.back().cores, 1);
}

TEST_F(Cores, Spare_TakesNoShare_UntilItServes) {
  world_.use({.memory_bytes = 10'000 * kMB, .template_bytes = 5000 * kMB, .cores = 4});
  domain::Manifest a = built_in("a");
  a.template_use = domain::TemplateUse::On;
  a.resources.memory_bytes = 0;
  world_.deploy(a);
  const domain::CallId first = world_.call("a");
  world_.ready(0);  // the template
  world_.ready(1);
  end(first);
  ASSERT_EQ(world_.started.size(), 3u);
  ASSERT_TRUE(world_.started.at(2).ahead);
  world_.call("a");  // beside a spare that is made
  EXPECT_THAT(told(), IsEmpty());
  world_.ready(2);
  EXPECT_THAT(told(), IsEmpty());
  a.name = "b";
  world_.deploy(a);
  world_.call("b");
  EXPECT_EQ(world_.assigned.size(), 1u);
  EXPECT_THAT(told(), ElementsAre(Set{2, 2}, Set{3, 2}));
}

TEST_F(Cores, ReplicaOnAnAccelerator_TakesOne_AndIsNotTold) {
  world_.use({.memory_bytes = 1000 * kMB,
              .cores = 4,
              .accelerators = {{"T4", "T4", std::uint64_t{16} << 30, 1}},
              .engine_on_gpu = true});
  domain::Manifest there = built_in("there");
  there.resources.device = "T4";
  world_.deploy(there);
  world_.serve("there");
  domain::Manifest here = built_in("here");
  here.resources.device = "cpu";
  world_.deploy(here);
  world_.serve("here");
  world_.call("here");
  told();
  const domain::CallId call = world_.call("there");
  EXPECT_THAT(told(), ElementsAre(Set{2, 3}));
  EXPECT_EQ(threads("there"), 4);
  end(call);
  EXPECT_THAT(told(), ElementsAre(Set{2, 4}));
}

}  // namespace
}  // namespace glowplug::control
