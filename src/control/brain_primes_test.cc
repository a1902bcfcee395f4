// Primed templates: made behind the first answers, preferred once they are there, and never waited
// for.
#include <algorithm>

#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::CallId;
using domain::ProcessId;

class PrimesTest : public testing::Test {
 protected:
  domain::Manifest primed(const std::string& name, const std::string& prime = "You help.") const {
    domain::Manifest made = world.manifest(name);
    made.resources.memory_bytes = 0;
    made.template_use = domain::TemplateUse::On;
    made.prime = {prime};
    return made;
  }
  // The base is loaded and its first replica has answered.
  void deploy_and_answer(const domain::Manifest& manifest) {
    world.deploy(manifest);
    const CallId id = world.call(manifest.name);
    world.ready(world.started.size() - 1);  // the base
    world.ready(world.started.size() - 1);  // the replica
    world.post(CallEnded{id});
  }
  const StartProcess& last() const { return world.started.back(); }
  bool is_prime(const StartProcess& start) const {
    return start.role == Role::Template && start.from.has_value();
  }
  std::string note(const std::string& name) const { return world.brain.function(name)->reason; }

  World world{4000, 2000, 0};
};

TEST_F(PrimesTest, FirstCall_ComesFromTheBaseAndThePrimedTemplateIsMadeAfterIt) {
  world.deploy(primed("f"));
  const CallId id = world.call("f");
  EXPECT_TRUE(world.started[0].manifest.prime.empty());
  world.ready(0);
  ASSERT_EQ(world.started.size(), 2u);  // the replica alone: a call waits
  world.ready(1);
  EXPECT_EQ(world.started.size(), 2u);  // it is answered now
  world.post(CallEnded{id});
  ASSERT_EQ(world.started.size(), 3u);
  EXPECT_TRUE(is_prime(last()));
  EXPECT_EQ(last().from, world.started[0].process);
  EXPECT_EQ(last().manifest.prime, std::vector<std::string>{"You help."});
}

TEST_F(PrimesTest, PrimedTemplateReady_LaterReplicasComeFromIt) {
  deploy_and_answer(primed("f"));
  const ProcessId id = last().process;
  world.ready(2);
  world.post(StopWanted{"f"});
  world.post(ProcessGone{world.started[1].process, "stopped", Ending::Asked});
  world.call("f");
  EXPECT_EQ(last().from, id);
  EXPECT_EQ(world.brain.function("f")->template_view->primes, 1u);
}

TEST_F(PrimesTest, CallWhileItIsMade_ComesFromTheBase) {
  deploy_and_answer(primed("f"));
  world.post(StopWanted{"f"});
  world.post(ProcessGone{world.started[1].process, "stopped", Ending::Asked});
  world.call("f");
  EXPECT_EQ(last().from, world.started[0].process);
  EXPECT_EQ(last().role, Role::Replica);
}

TEST_F(PrimesTest, PrimeThatCannotBe_IsSaidAndTheBaseServes) {
  deploy_and_answer(primed("f"));
  world.post(ProcessGone{last().process, "prime 1 has 9000 tokens", Ending::Itself});
  EXPECT_NE(note("f").find("9000 tokens"), std::string::npos);
  EXPECT_EQ(world.state("f"), domain::State::Ready);
  EXPECT_EQ(world.started.size(), 3u);  // not tried again at once
  const CallId id = world.call("f");
  world.post(CallEnded{id});
  world.now += 61s;
  world.post(Tick{});
  EXPECT_EQ(world.started.size(), 4u);
  EXPECT_TRUE(is_prime(last()));
  world.ready(3);
  EXPECT_EQ(note("f"), "");
}

TEST_F(PrimesTest, TwoFunctionsWithOnePrime_ShareThePrimedTemplate) {
  deploy_and_answer(primed("f"));
  world.ready(2);
  world.deploy(primed("g"));
  world.call("g");
  EXPECT_EQ(world.started.size(), 4u);
  EXPECT_EQ(last().from, world.started[2].process);
}

TEST_F(PrimesTest, TwoFunctionsWithTwoPrimes_ShareTheBase) {
  deploy_and_answer(primed("f"));
  world.ready(2);
  world.deploy(primed("g", "You refuse."));
  const CallId id = world.call("g");
  EXPECT_EQ(last().from, world.started[0].process);  // not the other one's
  world.ready(world.started.size() - 1);
  world.post(CallEnded{id});
  EXPECT_TRUE(is_prime(last()));
  EXPECT_EQ(last().from, world.started[0].process);
}

TEST_F(PrimesTest, FunctionDeleted_BothTemplatesGo) {
  deploy_and_answer(primed("f"));
  world.ready(2);
  world.post(FunctionDeleted{"f"});
  EXPECT_EQ(world.killed.size(), 2u);
}

TEST_F(PrimesTest, NewPrime_TheOldPrimedTemplateGoesAndTheBaseStays) {
  deploy_and_answer(primed("f"));
  const ProcessId old = last().process;
  world.ready(2);
  world.deploy(primed("f", "You sing."), 2);
  world.ready(world.started.size() - 1);  // the new revision's replica
  ASSERT_EQ(world.killed.size(), 1u);
  EXPECT_EQ(world.killed[0], old);
}

TEST_F(PrimesTest, PrimedTemplateDies_ItsReplicaStaysAndTheBaseServes) {
  deploy_and_answer(primed("f"));
  world.ready(2);
  world.post(ProcessGone{world.started[2].process, "killed", Ending::Killed});
  EXPECT_EQ(world.state("f"), domain::State::Ready);
  world.post(StopWanted{"f"});
  world.post(ProcessGone{world.started[1].process, "stopped", Ending::Asked});
  world.call("f");
  EXPECT_EQ(last().from, world.started[0].process);
}

TEST_F(PrimesTest, NoRoomForIt_IsNotMade) {
  World small{4000, 20, 0};
  domain::Manifest manifest = primed("f");
  small.deploy(manifest);
  const CallId id = small.call("f");
  small.ready(0);
  small.ready(1);
  small.post(CallEnded{id});
  EXPECT_EQ(small.started.size(), 2u);
}

TEST_F(PrimesTest, NoReplicaWouldFitBesideIt_IsNotMadeAndCallsAreServed) {
  World small{63, 60, 0};  // the base 17 MB, what is primed 34, a replica 34
  small.deploy(primed("f"));
  const CallId id = small.call("f");
  small.ready(0);
  small.ready(1);
  small.post(CallEnded{id});
  small.post(StopWanted{"f"});
  small.post(ProcessGone{small.started[1].process, "stopped", Ending::Asked});
  small.call("f");
  ASSERT_EQ(small.started.size(), 3u);
  EXPECT_EQ(small.started[2].role, Role::Replica);
}

TEST_F(PrimesTest, ReplicaThatGrewBesideIt_ComesFromTheBaseNextTime) {
  World tight{1000, 500, 0};
  tight.deploy(primed("f"));
  CallId id = tight.call("f");
  tight.ready(0);
  tight.ready(1);
  tight.post(CallEnded{id});
  tight.ready(2);  // what is primed
  tight.post(StopWanted{"f"});
  tight.post(ProcessGone{tight.started[1].process, "stopped", Ending::Asked});
  id = tight.call("f");
  ASSERT_EQ(tight.started.back().from, tight.started[2].process);
  tight.ready(3);
  tight.post(MemoryMeasured{tight.started[3].process, 920'000'000, 930'000'000});
  tight.post(CallEnded{id});
  tight.post(StopWanted{"f"});
  tight.post(ProcessGone{tight.started[3].process, "stopped", Ending::Asked});
  tight.call("f");
  tight.post(ProcessGone{tight.started[2].process, "killed", Ending::Asked});
  ASSERT_EQ(tight.started.size(), 5u);
  EXPECT_EQ(tight.started[4].role, Role::Replica);
  EXPECT_EQ(tight.started[4].from, tight.started[0].process);
}

TEST(PrimesAndSpares, SpareComesFromThePrimedTemplate) {
  World world{4000, 2000, 1};
  domain::Manifest manifest = world.manifest("f");
  manifest.resources.memory_bytes = 0;
  manifest.template_use = domain::TemplateUse::On;
  manifest.prime = {"You help."};
  world.deploy(manifest);
  const CallId id = world.call("f");
  world.ready(0);
  world.ready(1);
  world.post(CallEnded{id});
  const auto prime = std::find_if(world.started.begin(), world.started.end(), [](const auto& one) {
    return one.role == Role::Template && one.from;
  });
  ASSERT_NE(prime, world.started.end());
  const ProcessId origin = prime->process;
  world.post(ProcessReady{origin});
  world.pass(60s);
  const auto spare = std::find_if(world.started.begin(), world.started.end(),
                                  [&](const auto& one) { return one.ahead && one.from == origin; });
  EXPECT_NE(spare, world.started.end());
  for (const StartProcess& one : world.started) {  // those of the base are gone
    if (!one.ahead || one.from == origin) continue;
    EXPECT_NE(std::find(world.stopped.begin(), world.stopped.end(), one.process),
              world.stopped.end());
  }
}

}  // namespace
}  // namespace glowplug::control
