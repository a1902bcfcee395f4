// Whose turn it is, and who is told at once that it would come too late.
#include <algorithm>
#include <deque>

#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

class Turns : public ::testing::Test {
 protected:
  // Room for one of 100 MB; each start takes so long.
  void start_a_and_call_b(Duration start) {
    world.deploy(world.manifest("a"));
    world.deploy(b());
    running = world.call("a");
    world.now += start;
    world.ready(0);
    world.call("b");
  }
  virtual domain::Manifest b() { return world.manifest("b"); }
  bool a_takes_calls() {
    const std::size_t before = world.granted.size();
    const domain::CallId id = world.call("a");
    const bool granted = world.granted.size() > before;
    world.post(granted ? Event(CallEnded{id}) : Event(CallAbandoned{id}));
    return granted;
  }
  World world{150};
  domain::CallId running;
};

TEST_F(Turns, ReplicaThatStartedFast_MakesRoomAfterATurn) {
  start_a_and_call_b(100ms);
  world.pass(2s - 1ms);
  EXPECT_TRUE(a_takes_calls());
  world.pass(1ms);
  EXPECT_FALSE(a_takes_calls());
  EXPECT_TRUE(world.stopped.empty()) << "its call is answered";
}

TEST_F(Turns, ReplicaThatStartedSlowly_ServesForAMultipleOfItsStart) {
  start_a_and_call_b(1500ms);
  world.pass(6s - 1ms);
  EXPECT_TRUE(a_takes_calls());
  world.pass(1ms);
  EXPECT_FALSE(a_takes_calls());
}

void call_after_a_pause(World& world, domain::CallId& running) {
  world.post(CallEnded{running});
  world.pass(50ms);
  running = world.call("a");
}

// a's start took 1.5 s, and its caller pauses for 50 ms; b waits since its second call, for what
// only one of them can have.
class Pausing : public testing::TestWithParam<BrainOptions> {
 protected:
  Pausing() {
    world.use(GetParam());
    world.deploy(world.manifest("a"));
    world.deploy(world.manifest("b"));
    running = world.call("a");
    world.now += 1500ms;
    world.ready(0);
    one_more_call();
    world.call("b");
  }
  void one_more_call() { call_after_a_pause(world, running); }
  void expect_it_goes_after(Duration pause) {
    world.post(CallEnded{running});
    world.pass(pause - 1ns);
    EXPECT_TRUE(world.stopped.empty());
    world.pass(1ns);
    EXPECT_EQ(world.stopped.size(), 1u);
  }
  World world;
  domain::CallId running;
};

INSTANTIATE_TEST_SUITE_P(Scarce, Pausing,
                         testing::Values(BrainOptions{.memory_bytes = 150 * kMB, .cores = 4},
                                         BrainOptions{.memory_bytes = 1000 * kMB,
                                                      .cores = 4,
                                                      .accelerators = {{"T4", "T4", 150 * kMB, 1}}},
                                         BrainOptions{.memory_bytes = 1000 * kMB,
                                                      .cores = 4,
                                                      .budget_per_hour = {50'000}}),
                         [](const auto& one) {
                           return one.param.budget_per_hour.micros > 0 ? "Money"
                                  : one.param.accelerators.empty()     ? "Memory"
                                                                       : "Device";
                         });

TEST_P(Pausing, BetweenItsCalls_ItStays) {
  for (int i = 0; i < 20; ++i) one_more_call();
  EXPECT_TRUE(world.stopped.empty());
  expect_it_goes_after(100ms);
}

TEST_P(Pausing, AfterItsTurn_ItGoes) {
  const Time over = world.now + 6s - 50ms;
  while (world.now < over - 50ms) one_more_call();
  EXPECT_TRUE(world.stopped.empty());
  expect_it_goes_after(50ms);
}

// The answer of a third one, which will make room, may take for ever.
TEST(PausingBeside, OneThatMakesRoomLater_ItGoesAllTheSame) {
  World world(250);
  for (const char* name : {"a", "b", "c"}) world.deploy(world.manifest(name));
  world.call("c");
  world.ready(0);
  domain::CallId running = world.call("a");
  world.now += 1500ms;
  world.ready(1);
  for (int i = 0; i < 2; ++i) call_after_a_pause(world, running);
  world.call("b");
  world.post(StopWanted{"c"});
  world.post(CallEnded{running});
  world.pass(100ms - 1ns);
  EXPECT_TRUE(world.stopped.empty());
  world.pass(1ns);
  EXPECT_EQ(world.stopped, std::vector{world.started[1].process});
}

// A fork is back sooner than its next call; its template is not.
TEST(PausingFork, MakesRoom_ButKeepsItsTemplate) {
  World world(250, 250);
  const auto forking = [&world](const std::string& name) {
    domain::Manifest made = world.manifest(name);
    made.template_use = domain::TemplateUse::On;
    return made;
  };
  world.deploy(forking("a"));
  domain::Manifest large = world.manifest("large", 240), small = world.manifest("small", 150);
  world.deploy(large);
  world.deploy(small);
  domain::CallId running = world.call("a");
  world.now += 1500ms;
  world.ready(0);  // the template
  world.now += 10ms;
  world.ready(1);
  for (int i = 0; i < 2; ++i) call_after_a_pause(world, running);
  const domain::CallId waits = world.call("large");
  world.post(CallEnded{running});
  EXPECT_TRUE(world.stopped.empty()) << "without its template it makes not enough room";
  world.post(CallAbandoned{waits});
  world.call("small");
  EXPECT_EQ(world.stopped, std::vector{world.started[1].process});
  EXPECT_EQ(world.brain.templates(), 1u);
}

TEST_F(Turns, WhatWasGivenUp_IsNotTakenBackBeforeTheOtherHasStarted) {
  start_a_and_call_b(100ms);
  for (int i = 0; i < 10; ++i) world.call("a");
  world.pass(2s);
  world.post(CallEnded{running});
  for (const GrantCall& one : std::vector(world.granted)) world.post(CallEnded{one.call});
  ASSERT_EQ(world.stopped.size(), 1u);
  for (int i = 0; i < 10; ++i) world.call("a");  // more work, and it starts as fast
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "b");
}

TEST_F(Turns, WhatWasGivenUp_IsTakenBackWhereTheOtherWaitsNoMore) {
  start_a_and_call_b(100ms);
  world.pass(2s);
  world.post(CallEnded{running});
  world.call("a");
  world.post(CallAbandoned{{2}});  // of b
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "a");
}

TEST_F(Turns, Starving_WaitsForNoReplicasTurn) {
  start_a_and_call_b(30s);
  world.pass(10s - 1ms);
  EXPECT_TRUE(a_takes_calls());
  world.pass(1ms);
  EXPECT_FALSE(a_takes_calls());
}

TEST(StartsInOrder, HighPriorityAndMostWork_TakeTheRoomThatIsFree) {
  World world(150);
  domain::Manifest batch = world.manifest("a-batch"), high = world.manifest("z-high");
  batch.priority = domain::Priority::Batch;
  high.priority = domain::Priority::High;
  world.deploy(batch);
  world.deploy(world.manifest("busy"));
  world.deploy(high);
  world.deploy(world.manifest("holder"));
  const domain::CallId held = world.call("holder");
  world.ready(0);
  for (int i = 0; i < 5; ++i) world.call("a-batch");
  for (int i = 0; i < 3; ++i) world.call("busy");
  world.call("z-high");
  world.post(StopWanted{"holder"});
  world.post(CallEnded{held});
  world.post(ProcessGone{world.started[0].process, "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "z-high");
}

// Calls that come faster than one slot answers them, each answer taking a second.
class Overload : public ::testing::Test {
 protected:
  Overload() {
    domain::Manifest made = world.manifest("f");
    made.slots = 1;
    made.scale.max = 1;
    made.limits.queue = 1000;
    made.limits.queue_timeout = 5s;
    world.deploy(made);
    world.call("f");
    world.ready(0);
  }
  // For so long, so many calls a second; each call answered a second after its grant.
  void drive(int seconds, int calls_each) {
    for (int step = 0; step < seconds * calls_each; ++step) {
      world.call("f");
      world.pass(Duration(1s) / calls_each);
      while (ended < world.granted.size() && !ends.empty() && ends.front() <= world.now) end_one();
      while (ends.size() + ended < world.granted.size()) ends.push_back(world.now + 1s);
    }
  }
  void end_one() {
    ends.pop_front();
    world.post(CallEnded{world.granted[ended++].call});
  }
  World world;
  std::deque<Time> ends;
  std::size_t ended = 0;
};

TEST_F(Overload, WhatCannotMakeItsDeadline_IsRefusedAtOnceAndToldWhen) {
  drive(16, 4);  // until it is known what an answer takes
  const auto known = static_cast<std::ptrdiff_t>(world.refused.size());
  const std::size_t before = ended;
  drive(60, 4);
  const RefuseCall& last = world.refused.back();
  EXPECT_EQ(last.error.code, "server_is_overloaded");
  EXPECT_NE(last.error.message.find("would take this call in about"), std::string::npos)
      << last.error.message;
  EXPECT_GE(last.retry_after_s, 1);
  EXPECT_LE(last.retry_after_s, 5);
  EXPECT_GE(ended - before, 59u) << "the one slot is never without work";
  const auto late =
      std::count_if(world.refused.begin() + known, world.refused.end(), [](const RefuseCall& one) {
        return one.error.message.find("no replica of `f` became free") != std::string::npos;
      });
  EXPECT_EQ(late, 0) << "what is taken is answered";
  EXPECT_GE(world.refused.size() - static_cast<std::size_t>(known), 170u);
}

TEST_F(Overload, CallsThatNoReplicaSaw_DoNotCountAsShortAnswers) {
  for (int i = 0; i < 10; ++i) {
    world.pass(1s);
    world.post(CallEnded{world.granted.back().call});
    world.call("f");
  }
  for (int i = 0; i < 50; ++i) {
    const domain::CallId id = world.granted.back().call;
    world.post(i % 2 == 0 ? Event(CallEnded{id, CallOutcome::Unsent}) : Event(CallAbandoned{id}));
    world.call("f");
  }
  ASSERT_EQ(world.granted.size(), 61u);
  for (int i = 0; i < 5; ++i) world.call("f");  // the last for five answers of a second each
  EXPECT_TRUE(world.refused.empty());
  world.call("f");
  EXPECT_EQ(world.refused.size(), 1u);
}

TEST_F(Overload, LoadFalls_TheNextCallIsTaken) {
  drive(30, 4);
  while (!ends.empty()) {
    world.pass(1s);
    end_one();
    while (ends.size() + ended < world.granted.size()) ends.push_back(world.now + 1s);
  }
  const std::size_t granted = world.granted.size(), refused = world.refused.size();
  world.call("f");
  EXPECT_EQ(world.granted.size(), granted + 1);
  EXPECT_EQ(world.refused.size(), refused);
}

}  // namespace
}  // namespace glowplug::control
