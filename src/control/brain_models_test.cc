// A model's file as the brain hears of it: whether memory holds it, and that it is lost.
#include <algorithm>

#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::State;
using domain::Tier;

class Models : public ::testing::Test {
 protected:
  void deploy(const std::string& name, const std::string& sha256 = "a") {
    domain::Manifest made = world.manifest(name);
    made.template_use = templates ? domain::TemplateUse::On : domain::TemplateUse::Off;
    world.post(FunctionPut{made, 1});
    world.post(ModelPrepared{name, 1, {.path = "/m/" + sha256, .sha256 = sha256}});
  }
  Tier tier(const std::string& name) const { return world.brain.function(name)->tier; }
  // As the driver does: measured before the process reads.
  void started(bool resident) { world.post(StartMeasured{world.started.back().process, resident}); }

  World world{1000, 250};
  bool templates = false;
};

TEST_F(Models, ResidentFile_IsTierMemoryUntilItIsOut) {
  deploy("f");
  EXPECT_EQ(tier("f"), Tier::Disk);
  world.post(ModelResidency{"/m/a", true});
  EXPECT_EQ(tier("f"), Tier::Memory);
  world.post(ModelResidency{"/m/b", false});
  EXPECT_EQ(tier("f"), Tier::Memory);
  world.post(ModelResidency{"/m/a", false});
  EXPECT_EQ(tier("f"), Tier::Disk);
}

TEST_F(Models, PreparedAndResident_IsTierMemoryAtOnce) {
  world.post(FunctionPut{world.manifest("f"), 1});
  world.post(ModelPrepared{.function = "f", .revision = 1, .resident = true});
  EXPECT_EQ(tier("f"), Tier::Memory);
}

// What was measured when the process started counts, not what its reading made of it.
TEST_F(Models, ColdStart_SaysWhereItsFileWas) {
  deploy("f");
  world.call("f");
  started(false);
  world.post(ModelResidency{"/m/a", true});
  world.now += 100ms;
  world.ready(0);
  EXPECT_EQ(world.granted.back().tier, Tier::Disk);

  deploy("g", "b");
  world.call("g");
  started(true);
  world.now += 100ms;
  world.ready(1);
  EXPECT_EQ(world.granted.back().tier, Tier::Memory);
}

TEST_F(Models, ForkAwaitedThroughItsTemplatesLoad_IsFromTheTemplatesTier) {
  templates = true;
  deploy("f");
  world.call("f");
  ASSERT_EQ(world.started.back().role, Role::Template);
  started(true);
  world.now += 100ms;
  world.ready(0);
  world.now += 10ms;
  world.ready(1);
  EXPECT_EQ(world.granted.back().tier, Tier::Memory);
}

TEST_F(Models, BytesRead_AreOfTheLoadThatACallWaitedFor) {
  deploy("f");
  const domain::CallId id = world.call("f");
  world.now += 100ms;
  world.post(ProcessReady{.process = world.started[0].process, .bytes_read = 4096});
  EXPECT_EQ(world.granted.back().bytes_read, 4096u);
  world.post(CallEnded{id});
  world.call("f");
  EXPECT_EQ(world.granted.back().bytes_read, 0u) << "it waited for no load";
}

TEST_F(Models, BytesRead_AreUnknownWhereTheProcessDoesNotSay) {
  deploy("f");
  world.call("f");
  world.now += 100ms;
  world.ready(0);
  EXPECT_TRUE(world.granted.back().cold);
  EXPECT_EQ(world.granted.back().bytes_read, std::nullopt);
}

TEST_F(Models, BytesReadByATemplate_CountForItsFirstForkAlone) {
  templates = true;
  deploy("f");
  const domain::CallId id = world.call("f");
  world.now += 100ms;
  world.post(ProcessReady{.process = world.started[0].process, .bytes_read = 4096});
  world.now += 10ms;
  world.post(ProcessReady{.process = world.started[1].process, .bytes_read = 0});
  EXPECT_EQ(world.granted.back().bytes_read, 4096u);
  world.post(CallEnded{id});
  world.post(StopWanted{"f"});
  world.post(ProcessGone{world.stopped.back(), "stopped", Ending::Asked});
  world.call("f");
  world.now += 10ms;
  world.ready(2);
  EXPECT_EQ(world.granted.back().tier, Tier::Template);
  EXPECT_EQ(world.granted.back().bytes_read, 0u);
}

TEST_F(Models, LostFile_IsPreparedAgainByTheNextCall) {
  deploy("f");
  deploy("other", "b");
  world.post(ModelLost{"/m/a", "damaged"});
  EXPECT_EQ(tier("f"), Tier::Remote);
  EXPECT_EQ(tier("other"), Tier::Disk);
  EXPECT_EQ(world.decisions.back().decision, "model-lost");
  EXPECT_EQ(world.decisions.back().function, "f");
  const std::size_t before = world.prepared.size();
  world.call("f");
  ASSERT_EQ(world.prepared.size(), before + 1);
  EXPECT_TRUE(world.started.empty());
  world.post(ModelPrepared{"f", 1, {.path = "/m/a", .sha256 = "a"}, 0s, true});
  world.now += 100ms;
  world.ready(0);
  EXPECT_EQ(world.granted.size(), 1u);
}

TEST_F(Models, LostCopy_LeavesWhatRunsFromAnotherFileAlone) {
  deploy("f");
  world.post(FunctionPut{world.manifest("copy"), 1});
  world.post(ModelPrepared{"copy", 1, {.path = "/m/copy", .sha256 = "a"}});
  world.post(ModelLost{"/m/copy", "gone"});
  EXPECT_EQ(tier("copy"), Tier::Remote);
  EXPECT_EQ(tier("f"), Tier::Disk);
}

// The driver found it before the start: the process never was, and the call is not failed for it.
TEST_F(Models, LostBeforeAStart_TheCallWaitsForTheNextOne) {
  deploy("f");
  world.call("f");
  const domain::ProcessId refused = world.started.back().process;
  world.post(ModelLost{"/m/a", "its model file is gone"});
  world.post(ProcessGone{refused, "its model file is gone", Ending::Asked});
  EXPECT_TRUE(world.refused.empty());
  EXPECT_EQ(world.prepared.size(), 2u);
  world.post(ModelPrepared{"f", 1, {.path = "/m/a", .sha256 = "a"}, 0s, true});
  ASSERT_EQ(world.started.size(), 2u);
  world.ready(1);
  EXPECT_EQ(world.granted.size(), 1u);
}

TEST_F(Models, LostBeforeATemplatesLoad_TheCallWaitsForTheNextOne) {
  templates = true;
  deploy("f");
  world.call("f");
  const domain::ProcessId refused = world.started.back().process;
  world.post(ModelLost{"/m/a", "its model file is gone"});
  world.post(ProcessGone{refused, "its model file is gone", Ending::Asked});
  world.post(ModelPrepared{"f", 1, {.path = "/m/a", .sha256 = "a"}, 0s, true});
  EXPECT_TRUE(world.refused.empty());
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started.back().role, Role::Template);
}

TEST_F(Models, LostWhileServing_ReplicasFinishAndTheTemplateGoes) {
  templates = true;
  deploy("f");
  const domain::CallId id = world.call("f");
  world.ready(0);
  world.ready(1);
  ASSERT_EQ(world.granted.size(), 1u);
  world.post(ModelLost{"/m/a", "damaged"});
  EXPECT_EQ(world.killed, std::vector{world.started[0].process});
  EXPECT_TRUE(world.stopped.empty());  // a call is in flight
  EXPECT_EQ(world.state("f"), State::Draining);
  world.post(CallEnded{id});
  EXPECT_EQ(world.stopped, std::vector{world.started[1].process});
  EXPECT_TRUE(world.refused.empty());
}

// The grant of the one call, whose replica takes 100 ms.
GrantCall granted_after_a_start(World& world) {
  world.now += 100ms;
  world.ready(0);
  EXPECT_EQ(world.granted.size(), 1u);
  return world.granted.empty() ? GrantCall{} : world.granted[0];
}

TEST(ColdFunction_ModelFetchedForTheCall, StartsFromRemote) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  world.call("f");
  world.now += 2s;
  world.post(ModelPrepared{"f", 1, {}, 0s, true});
  const GrantCall granted = granted_after_a_start(world);
  EXPECT_EQ(granted.tier, domain::Tier::Remote);
  EXPECT_EQ(granted.waited[domain::Phase::Fetch], Duration(2s));
  EXPECT_EQ(world.decisions.back().reason,
            "cold from remote: queue 0.0 ms, fetch 2.0 s, load 100.0 ms; replica 1");
}

TEST(ColdFunction_ModelFetchedBeforeTheCall, StartsFromDisk) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  world.now += 2s;
  world.post(ModelPrepared{"f", 1, {}, 0s, true});
  world.call("f");
  const GrantCall granted = granted_after_a_start(world);
  EXPECT_EQ(granted.tier, domain::Tier::Disk);
}

TEST(ColdFunction_CallCameDuringTheCheck, WaitedForItsRest) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  world.now += 20ms;
  world.call("f");
  world.now += 10ms;
  world.post(ModelPrepared{"f", 1, {}, 15ms, true});
  const GrantCall granted = granted_after_a_start(world);
  EXPECT_EQ(granted.tier, domain::Tier::Remote);
  EXPECT_EQ(granted.waited[domain::Phase::Fetch], Duration(0));
  EXPECT_EQ(granted.waited[domain::Phase::Verify], Duration(10ms));
}

TEST(ColdFunction_ModelOnlyCheckedForTheCall, StartsFromDisk) {
  World world;
  world.post(FunctionPut{world.manifest("f"), 1});
  world.call("f");
  world.now += 20ms;
  world.post(ModelPrepared{"f", 1, {}, 15ms, false});
  const GrantCall granted = granted_after_a_start(world);
  EXPECT_TRUE(granted.cold);
  EXPECT_EQ(granted.tier, domain::Tier::Disk);
  EXPECT_EQ(granted.waited[domain::Phase::Fetch], Duration(5ms));
  EXPECT_EQ(granted.waited[domain::Phase::Verify], Duration(15ms));
}

}  // namespace
}  // namespace glowplug::control
