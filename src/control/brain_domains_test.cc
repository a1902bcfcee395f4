// Cache domains: one replica never answers two of them, and none of them starves.
#include <gtest/gtest.h>

#include "control/test_world.h"
#include "domain/limits.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using namespace std::chrono_literals;

const domain::CacheDomain kRed{"red", ""}, kBlue{"blue", ""}, kBlueSalted{"blue", "pepper"};

CallId call_as(World& world, const domain::CacheDomain& domain) {
  return world.call("f", 1, {}, domain);
}

TEST(TwoDomains_CallOneFunction, EachGetsItsOwnReplica) {
  World world;
  world.deploy(world.manifest("f"));
  call_as(world, kRed);
  call_as(world, kBlue);
  ASSERT_EQ(world.started.size(), 2u);
  world.ready(0);
  world.ready(1);
  ASSERT_EQ(world.granted.size(), 2u);
  EXPECT_NE(world.granted[0].replica, world.granted[1].replica);
  ASSERT_EQ(world.bound.size(), 2u);
  EXPECT_NE(world.bound[0].domain, world.bound[1].domain);
}

TEST(FiftyFirstCalls_OfTwoDomains, StartTwoReplicas) {
  World world;
  world.deploy(world.manifest("f"));
  for (int i = 0; i < 25; ++i) {
    call_as(world, kRed);
    call_as(world, kBlue);
  }
  EXPECT_EQ(world.started.size(), 2u);
}

TEST(SaltedCalls_OfOneTenant, AreADomainOfTheirOwn) {
  World world;
  world.deploy(world.manifest("f"));
  call_as(world, kBlue);
  world.ready(0);
  call_as(world, kBlueSalted);
  ASSERT_EQ(world.started.size(), 2u);
  world.ready(1);
  EXPECT_NE(world.granted[0].replica, world.granted[1].replica);
}

TEST(BoundReplica_IdleAgain, StillAnswersNobodyElse) {
  World world;
  world.deploy(world.manifest("f"));
  world.post(CallEnded{(call_as(world, kRed), world.ready(0), world.granted[0].call)});
  call_as(world, kBlue);
  EXPECT_EQ(world.granted.size(), 1u);
  EXPECT_EQ(world.started.size(), 2u);
  call_as(world, kRed);
  ASSERT_EQ(world.granted.size(), 2u);
  EXPECT_EQ(world.granted[1].replica, world.granted[0].replica);
}

TEST(SharedFunction_TwoDomains, OneReplicaServesBoth) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  manifest.share = domain::Share::Function;
  world.deploy(manifest);
  call_as(world, kRed);
  call_as(world, kBlue);
  EXPECT_EQ(world.started.size(), 1u);
  world.ready(0);
  EXPECT_EQ(world.granted.size(), 2u);
  ASSERT_EQ(world.bound.size(), 1u);
  EXPECT_EQ(world.bound[0].domain.tenant, "function:f");  // no caller's, and no other function's
}

TEST(ProcessEngine_TwoDomains, AnswersForItsOwnState) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  manifest.engine.kind = domain::EngineKind::Process;
  world.deploy(manifest);
  call_as(world, kRed);
  call_as(world, kBlue);
  EXPECT_EQ(world.started.size(), 1u);
  world.ready(0);
  EXPECT_EQ(world.granted.size(), 2u);
  EXPECT_TRUE(world.bound.empty());
}

TEST(OnlyOneReplicaAllowed_OtherDomainIdle, GivesWayAtOnce) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  manifest.scale.max = 1;
  world.deploy(manifest);
  const CallId first = call_as(world, kRed);
  world.ready(0);
  world.post(CallEnded{first});
  call_as(world, kBlue);
  EXPECT_EQ(world.stopped.size(), 1u);
  ASSERT_EQ(world.started.size(), 2u);
  world.ready(1);
  EXPECT_EQ(world.granted.back().replica, world.started[1].process);
}

TEST(OnlyOneReplicaAllowed_OtherDomainBusy, EndsItsTurnAfterTwoSeconds) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  manifest.scale.max = 1;
  world.deploy(manifest);
  const CallId first = call_as(world, kRed);
  world.ready(0);
  call_as(world, kBlue);
  world.pass(domain::kTurn - 1ms);
  call_as(world, kRed);  // within its turn it still gets a slot
  EXPECT_EQ(world.granted.size(), 2u);
  EXPECT_EQ(world.started.size(), 1u);
  world.pass(1ms);
  EXPECT_EQ(world.started.size(), 2u);
  call_as(world, kRed);  // its turn is over
  EXPECT_EQ(world.granted.size(), 2u);
  EXPECT_TRUE(world.stopped.empty());  // what it has it finishes
  world.post(CallEnded{first});
  world.post(CallEnded{world.granted[1].call});
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST(TwoDomains_OneReplicaAllowedAndBothAlwaysBusy, TakeTurns) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  manifest.scale.max = 1;
  manifest.slots = 1;
  world.deploy(manifest);
  int red = 0, blue = 0;
  call_as(world, kRed);
  call_as(world, kBlue);
  for (int step = 0; step < 200; ++step) {
    for (std::size_t i = 0; i < world.started.size(); ++i) world.ready(i);
    world.pass(100ms);
    if (world.granted.empty()) continue;
    const GrantCall last = world.granted.back();
    world.granted.clear();
    const bool is_red = world.bound.back().domain == kRed;
    ++(is_red ? red : blue);
    call_as(world, is_red ? kRed : kBlue);
    world.post(CallEnded{last.call});
  }
  EXPECT_GT(red, 40);
  EXPECT_GT(blue, 40);
}

TEST(OneDomainsReplicaIsFull_AnotherDomainFree, DoesNotHoldItUp) {
  World world;
  domain::Manifest manifest = world.manifest("f");
  manifest.slots = 1;
  world.deploy(manifest);
  call_as(world, kRed);
  call_as(world, kBlue);
  world.ready(0);
  world.ready(1);
  const CallId blue = world.granted[1].call;
  call_as(world, kRed);   // waits: its slot is taken
  call_as(world, kBlue);  // behind it
  world.post(CallEnded{blue});
  EXPECT_EQ(world.granted.size(), 3u);
}

TEST(MemoryForOneReplica_TwoDomains, IdleOneIsEvicted) {
  World world(150);
  world.deploy(world.manifest("f", 100));
  const CallId first = call_as(world, kRed);
  world.ready(0);
  world.post(CallEnded{first});
  call_as(world, kBlue);
  EXPECT_EQ(world.stopped.size(), 1u);
  world.post(ProcessGone{world.started[0].process, "stopped", Ending::Asked});
  EXPECT_EQ(world.started.size(), 2u);
}

TEST(MemoryForOneReplica_OtherDomainBusy, GivesWayAfterItsTurn) {
  World world(150);
  world.deploy(world.manifest("f", 100));
  const CallId first = call_as(world, kRed);
  world.ready(0);
  call_as(world, kBlue);
  world.pass(domain::kTurn);
  call_as(world, kRed);
  EXPECT_EQ(world.granted.size(), 1u);
  world.post(CallEnded{first});
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST(IdleReplica_AfterFiveSeconds, KeepsItsPromptStateOnce) {
  World world;
  world.deploy(world.manifest("f"));
  const CallId first = call_as(world, kRed);
  world.ready(0);
  world.pass(10s);
  EXPECT_TRUE(world.kept.empty());  // busy
  world.post(CallEnded{first});
  world.pass(4999ms);
  EXPECT_TRUE(world.kept.empty());
  world.pass(1ms);
  EXPECT_EQ(world.kept.size(), 1u);
  world.pass(60s);
  EXPECT_EQ(world.kept.size(), 1u);
  world.post(CallEnded{call_as(world, kRed)});
  world.pass(5s);
  EXPECT_EQ(world.kept.size(), 2u);
}

TEST(NeverUsedReplica_OrOneWithoutPromptState, KeepsNothing) {
  World world;
  domain::Manifest warm = world.manifest("warm");
  warm.scale.min = 1;
  world.deploy(warm);
  world.ready(0);
  domain::Manifest embed = world.manifest("f");
  embed.task = domain::Task::Embed;
  world.deploy(embed);
  const CallId call = call_as(world, kRed);
  world.ready(1);
  world.post(CallEnded{call});
  world.pass(60s);
  EXPECT_TRUE(world.kept.empty());
}

// Two replicas of two slots, which have both answered this caller and are idle.
class Conversations : public testing::Test {
 protected:
  Conversations() {
    domain::Manifest made = world.manifest("f");
    made.scale.min = 2;
    made.slots = 2;
    world.deploy(made);
    world.ready(0);
    world.ready(1);
    for (int i = 0; i < 3; ++i) say({});
    for (std::uint64_t call = 1; call <= 3; ++call) world.post(CallEnded{{call}});
  }
  // Messages of 1,000 bytes each; the replica that answers.
  domain::ProcessId say(std::initializer_list<std::uint64_t> messages) {
    domain::PromptLinks links;
    for (const std::uint64_t one : messages)
      links.push_back(
          {(links.empty() ? 7 : links.back().hash * 31) + one, (links.size() + 1) * 1000});
    const CallId id{++world.calls};
    world.post(CallArrived{id, "f", 1, world.now + 60s, {}, {}, links});
    return world.granted.back().replica;
  }
  void all_end() {
    for (const GrantCall& one : world.granted) world.post(CallEnded{one.call});
  }
  World world;
};

TEST_F(Conversations, GoOnWhereTheirPromptIs) {
  const domain::ProcessId a = say({1});
  const domain::ProcessId b = say({2});
  ASSERT_NE(a, b);
  all_end();
  EXPECT_EQ(say({2, 5, 6}), b);
  EXPECT_EQ(say({2, 8}), b);  // although the other has nothing to do
  EXPECT_EQ(say({1, 7, 8}), a);
}

TEST_F(Conversations, WhereTheirReplicaIsFull_GoElsewhereAtOnce) {
  const domain::ProcessId a = say({1});
  ASSERT_EQ(say({1, 2}), a);
  EXPECT_NE(say({1, 2, 3}), a);
}

TEST_F(Conversations, WithoutAPrompt_GoToTheLeastBusy) {
  const domain::ProcessId a = say({});
  EXPECT_NE(say({}), a);
}

// One function for all tenants, one slot.
class Tenants : public testing::Test {
 protected:
  Tenants() {
    domain::Manifest made = world.manifest("f");
    made.share = domain::Share::Function;
    made.slots = 1;
    made.scale.max = 1;
    world.deploy(made);
  }
  void call(const domain::CacheDomain& who, int count) {
    for (int i = 0; i < count; ++i) tenant[call_as(world, who).value] = who.tenant;
  }
  // Whose calls are granted, one after the other, each a second long.
  std::string served(int count) {
    std::string who;
    for (int i = 0; i < count; ++i) {
      who += tenant[world.granted.back().call.value][0];
      world.now += 1s;
      world.post(CallEnded{world.granted.back().call});
    }
    return who;
  }
  World world;
  std::map<std::uint64_t, std::string> tenant;
};

TEST_F(Tenants, CrowdOfOne_DoesNotHoldUpTheOther) {
  call(kRed, 20);
  world.ready(0);
  call(kBlue, 3);
  EXPECT_EQ(served(8), "rbrbrbrr");
}

TEST_F(Tenants, WhoHadMuchWhileAlone_OwesNothingOnceAllIsDone) {
  call(kRed, 5);
  world.ready(0);
  served(5);
  call(kRed, 4);
  call(kBlue, 2);
  EXPECT_EQ(served(6), "rrbrbr");
}

TEST_F(Tenants, CallsOfABatch_GiveWayToOthers_ButNotForever) {
  const auto batch = [this](int count) {
    for (int i = 0; i < count; ++i) {
      const domain::CallId id{++world.calls};
      tenant[id.value] = "x";
      world.post(CallArrived{.call = id,
                             .function = "f",
                             .deadline = world.now + 3600s,
                             .domain = kRed,
                             .urgency = domain::JobUrgency::Batch});
    }
  };
  batch(3);
  world.ready(0);
  call(kRed, 2);
  call(kBlue, 1);
  EXPECT_EQ(served(6), "xbrrxx");
  batch(2);
  call(kRed, 40);
  EXPECT_EQ(served(42).find('x', 1), 30U);  // the second has waited for 30 s
}

TEST_F(Tenants, FullQueueOfOne_DoesNotForetellTheOtherItsWait) {
  call(kRed, 12);
  world.ready(0);
  served(10);  // so that it is known how long one takes
  call(kRed, 90);
  const std::size_t refused = world.refused.size();
  world.post(CallArrived{{++world.calls}, "f", 1, world.now + 20s, {}, kBlue});
  EXPECT_EQ(world.refused.size(), refused);
  world.post(CallArrived{{++world.calls}, "f", 1, world.now + 20s, {}, kRed});
  EXPECT_EQ(world.refused.size(), refused + 1);
}

}  // namespace
}  // namespace glowplug::control
