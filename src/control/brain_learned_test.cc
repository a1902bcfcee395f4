// Learned primes: for one cache domain alone, made when nobody waits, and never waited for.
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::CacheDomain;
using domain::CallId;

const CacheDomain kRed{"red", ""}, kBlue{"blue", ""};

class LearnedTest : public testing::Test {
 protected:
  domain::Manifest manifest(const std::string& name = "f") const {
    domain::Manifest made = world.manifest(name);
    made.resources.memory_bytes = 0;
    made.template_use = domain::TemplateUse::On;
    made.scale.max = 4;
    return made;
  }
  // A base (0), and red's replica (1), which has answered.
  void serve_red(const domain::Manifest& made) {
    world.deploy(made);
    const CallId id = world.call(made.name, 1, {}, kRed);
    world.ready(0);
    world.ready(1);
    world.post(CallEnded{id});
  }
  void learn(std::size_t replica, int tokens = 300, std::int32_t first = 1) {
    auto list =
        std::make_shared<std::vector<std::int32_t>>(static_cast<std::size_t>(tokens), first);
    world.post(BeginningShared{world.started.at(replica).process, std::move(list), 3});
  }
  void to_zero(std::size_t replica) {
    world.post(StopWanted{"f"});
    world.post(ProcessGone{world.started.at(replica).process, "stopped", Ending::Asked});
  }
  const StartProcess& last() const { return world.started.back(); }
  bool is_learned(const StartProcess& start) const {
    return start.role == Role::Template && start.prime != nullptr;
  }

  World world{8000, 4000, 0};
};

TEST_F(LearnedTest, SharedBeginning_IsComputedInATemplateOfTheBase) {
  serve_red(manifest());
  learn(1);
  ASSERT_EQ(world.started.size(), 3u);
  EXPECT_TRUE(is_learned(last()));
  EXPECT_EQ(last().from, world.started[0].process);
  EXPECT_EQ(last().prime->size(), 300u);
  EXPECT_TRUE(last().manifest.prime.empty());
  learn(1);
  EXPECT_EQ(world.started.size(), 3u) << "the same again is nothing new";
}

TEST_F(LearnedTest, NextReplicaOfTheDomain_ComesFromIt) {
  serve_red(manifest());
  learn(1);
  world.ready(2);
  to_zero(1);
  const CallId id = world.call("f", 1, {}, kRed);
  EXPECT_EQ(last().from, world.started[2].process);
  EXPECT_EQ(last().role, Role::Replica);
  world.now += 10ms;
  world.ready(3);
  EXPECT_EQ(world.granted.back().call, id);
  EXPECT_EQ(world.granted.back().tier, domain::Tier::Template);
  EXPECT_EQ(world.bound.back().domain, kRed);
}

TEST_F(LearnedTest, AnotherDomain_ComesFromTheBase) {
  serve_red(manifest());
  learn(1);
  world.ready(2);
  world.call("f", 1, {}, kBlue);
  EXPECT_EQ(last().from, world.started[0].process);
}

// It holds what red has said from its first moment on, bound or not.
TEST_F(LearnedTest, ReplicaMadeForADomain_AnswersNoOther) {
  serve_red(manifest());
  learn(1);
  world.ready(2);
  to_zero(1);
  const CallId red = world.call("f", 1, {}, kRed);
  world.post(CallAbandoned{red});
  world.ready(3);
  const CallId blue = world.call("f", 1, {}, kBlue);
  EXPECT_TRUE(world.granted.empty() || world.granted.back().call != blue);
  EXPECT_EQ(last().from, world.started[0].process);
  world.ready(world.started.size() - 1);
  EXPECT_EQ(world.granted.back().call, blue);
  EXPECT_EQ(world.granted.back().replica, last().process);
}

TEST_F(LearnedTest, CallWhileItIsMade_ComesFromTheBase) {
  serve_red(manifest());
  learn(1);
  to_zero(1);
  world.call("f", 1, {}, kRed);
  EXPECT_EQ(last().from, world.started[0].process);
}

TEST_F(LearnedTest, ManifestThatDeclaresPrimes_IsLeftAlone) {
  domain::Manifest made = manifest();
  made.prime = {"You help."};
  serve_red(made);
  const std::size_t before = world.started.size();
  learn(1);
  EXPECT_EQ(world.started.size(), before);
}

TEST_F(LearnedTest, SomethingElseIsShared_ReplacesItAfterTenMinutes) {
  domain::Manifest made = manifest();
  made.keep_alive = kForever;
  serve_red(made);
  learn(1);
  world.ready(2);
  learn(1, 400);
  EXPECT_TRUE(world.killed.empty());
  world.now += 10min;
  learn(1, 400);
  ASSERT_FALSE(world.killed.empty());
  EXPECT_EQ(world.killed.back(), world.started[2].process);
  EXPECT_TRUE(is_learned(last()));
  EXPECT_EQ(last().prime->size(), 400u);
}

TEST_F(LearnedTest, NewRevision_ForgetsIt) {
  serve_red(manifest());
  learn(1);
  world.ready(2);
  domain::Manifest made = manifest();
  made.context *= 2;
  world.deploy(made, 2);
  world.ready(world.started.size() - 1);  // its base
  world.ready(world.started.size() - 1);
  EXPECT_NE(std::find(world.killed.begin(), world.killed.end(), world.started[2].process),
            world.killed.end());
}

TEST_F(LearnedTest, OneThatDies_IsMadeAgainAfterAMinuteAndNobodyFails) {
  domain::Manifest made = manifest();
  made.keep_alive = kForever;
  serve_red(made);
  learn(1);
  world.post(ProcessGone{world.started[2].process, "killed", Ending::Killed});
  EXPECT_EQ(world.started.size(), 3u);
  EXPECT_EQ(world.brain.function("f")->reason, "");
  EXPECT_EQ(world.state("f"), domain::State::Ready);
  world.now += 61s;
  world.post(Tick{});
  EXPECT_EQ(world.started.size(), 4u);
  EXPECT_TRUE(is_learned(last()));
}

TEST_F(LearnedTest, BoundedNumberOfDomains_TheLatestStay) {
  domain::Manifest made = manifest();
  made.keep_alive = kForever;
  made.scale.max = 10;
  world.deploy(made);
  for (int i = 0; i < 6; ++i) {
    const CallId id = world.call("f", 1, {}, {"tenant" + std::to_string(i), ""});
    if (i == 0) world.ready(0);
    world.ready(world.started.size() - 1);
    world.post(CallEnded{id});
    learn(world.started.size() - 1, 300 + i);
    world.ready(world.started.size() - 1);
  }
  EXPECT_EQ(world.killed.size(), 6 - domain::kLearnedPrimesMax);
}

}  // namespace
}  // namespace glowplug::control
