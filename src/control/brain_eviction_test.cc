#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using namespace std::chrono_literals;

// Memory for two replicas of 100 MB.
class Evicting : public testing::Test {
 protected:
  Evicting() {
    world.use({.memory_bytes = 250 * kMB, .template_bytes = 0, .spares = 0});
    for (const char* name : {"often", "once", "next"}) world.deploy(world.manifest(name));
  }
  // One call, answered; a start takes as long as is said.
  void visit(const std::string& name, Duration start = 1s) {
    const std::size_t before = world.started.size();
    const domain::CallId id = world.call(name);
    for (const domain::ProcessId gone : std::exchange(world.stopped, {}))
      world.post(ProcessGone{gone, "stopped", Ending::Asked});
    world.now += start;
    if (world.started.size() > before) world.ready(before);
    world.post(CallEnded{id});
    world.now += 1s;
  }
  bool is_there(const std::string& name) { return !world.brain.function(name)->replicas.empty(); }
  std::string stopped() {
    for (const Decision& one : world.decisions)
      if (one.decision == "stop") return one.reason;
    return "";
  }
  World world;
};

TEST_F(Evicting, WhatIsCalledOften_StaysWhereTheLatestGoes) {
  for (const char* name : {"often", "next", "often", "next", "often", "once"}) visit(name);
  ASSERT_FALSE(is_there("next"));
  visit("next");
  EXPECT_TRUE(is_there("often"));
  EXPECT_FALSE(is_there("once"));
}

TEST_F(Evicting, CallsInARow_AreOneVisit) {
  for (int i = 0; i < 50; ++i) visit("often");
  visit("once");
  visit("next");
  EXPECT_FALSE(is_there("often"));
  EXPECT_TRUE(is_there("once"));
}

TEST_F(Evicting, VisitsCount_AlsoAfterAnEviction) {
  for (const char* name : {"often", "next", "often", "next", "often", "next"}) visit(name);
  for (int i = 0; i < 2; ++i) visit("once");
  ASSERT_FALSE(is_there("often"));
  visit("often");
  EXPECT_TRUE(is_there("next"));  // although "once" was used after it
  EXPECT_FALSE(is_there("once"));
}

TEST_F(Evicting, WhatStartsFast_GoesBeforeWhatStartsSlowly) {
  visit("often", 5s);
  visit("once", 10ms);
  visit("next");
  EXPECT_TRUE(is_there("often"));
  EXPECT_EQ(stopped(),
            "replica 2: evicted: 50.0 MB needed by next; idle, it saves 10.0 ms at a start, 1.1 % "
            "likely to be next");
}

TEST_F(Evicting, WhatIsHeld_GoesLast) {
  domain::Manifest held = world.manifest("held");
  held.scale.min = 1;
  world.deploy(held);
  world.ready(world.started.size() - 1);
  visit("often");
  visit("next");
  EXPECT_TRUE(is_there("held"));
  EXPECT_FALSE(is_there("often"));
}

TEST_F(Evicting, OfTwoReplicas_AsManyAreHeldAsTheMinimumSays) {
  domain::Manifest held = world.manifest("held");
  held.scale.min = 1;
  held.slots = 1;
  world.deploy(held);
  world.ready(world.started.size() - 1);
  world.post(WarmWanted{"held", 2, 1min});
  world.ready(world.started.size() - 1);
  ASSERT_EQ(world.brain.function("held")->replicas.size(), 2u);
  world.pass(2min);  // the second is held no longer
  visit("often");
  EXPECT_EQ(world.brain.function("held")->replicas.size(), 1u);
  visit("next");
  EXPECT_EQ(world.brain.function("held")->replicas.size(), 1u);
  EXPECT_FALSE(is_there("often"));
}

}  // namespace
}  // namespace glowplug::control
