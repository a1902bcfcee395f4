#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/test_world.h"
#include "domain/errors.h"

namespace glowplug::control {
namespace {

using domain::Tier;
using ::testing::HasSubstr;

// What fork from templates; the fake engine's template is reserved 16 MiB.
class Holds : public ::testing::Test {
 protected:
  domain::Manifest manifest(const std::string& name) {
    domain::Manifest made = world.manifest(name);
    made.template_use = domain::TemplateUse::On;
    return made;
  }
  const StartProcess& start(std::size_t index) const { return world.started.at(index); }
  std::size_t starts() const { return world.started.size(); }
  void serve_from_template(const std::string& name) {
    const domain::CallId id = world.call(name);
    world.ready(starts() - 1);
    world.post(CallEnded{id});
  }
  FunctionView view(const std::string& name) { return *world.brain.function(name); }
  bool is_killed(std::size_t started) const {
    return std::count(world.killed.begin(), world.killed.end(), start(started).process) > 0;
  }

  World world{1000, 40};  // room for two templates
};

TEST_F(Holds, MinTemplate_IsLoadedAtDeployAndNoReplica) {
  domain::Manifest made = manifest("f");
  made.scale.min_template = 1;
  world.deploy(made);
  ASSERT_EQ(starts(), 1u);
  EXPECT_EQ(start(0).role, Role::Template);
  world.ready(0);
  EXPECT_EQ(starts(), 1u);
  EXPECT_EQ(view("f").tier, Tier::Template);
  ASSERT_EQ(view("f").holds.size(), 1u);
  EXPECT_EQ(view("f").holds[0].by, "scale");
  EXPECT_EQ(view("f").holds[0].tier, Tier::Template);
}

TEST_F(Holds, HeldTemplate_OutlivesThoseOfOthers) {
  domain::Manifest held = manifest("held");
  held.scale.min_template = 1;
  world.deploy(held);
  world.ready(0);
  for (const char* name : {"b", "c"}) {
    domain::Manifest other = manifest(name);
    other.engine.fake.load_time = name[0] == 'b' ? 30ms : 40ms;  // templates of their own
    other.keep_alive = 0s;
    world.deploy(other);
    const domain::CallId id = world.call(name);
    const std::size_t loaded = starts() - 1;
    world.ready(loaded);
    world.ready(loaded + 1);
    world.post(CallEnded{id});
    world.post(ProcessGone{start(loaded + 1).process, "", Ending::Asked});
    world.now += 1s;
  }
  EXPECT_FALSE(is_killed(0));
  EXPECT_EQ(world.killed.size(), 1u) << "one of the two others, for the budget";
}

TEST_F(Holds, MoreThanTheBudget_IsNotLoadedAndSaysWhy) {
  for (int i = 0; i < 3; ++i) {
    domain::Manifest made = manifest("f" + std::to_string(i));
    made.scale.min_template = 1;
    made.engine.fake.load_time = 10ms * (i + 1);
    world.deploy(made);
    if (i < 2) world.ready(starts() - 1);
  }
  EXPECT_EQ(starts(), 2u);
  EXPECT_THAT(view("f2").reason, HasSubstr("its template is not held"));
  world.post(FunctionDeleted{"f0"});
  world.post(ProcessGone{start(0).process, "", Ending::Asked});
  EXPECT_EQ(starts(), 3u) << "once there is room";
  EXPECT_EQ(view("f2").reason, "");
}

TEST_F(Holds, ShortOfMemory_HeldTemplateGivesWayToACallAndComesBack) {
  World tight(130, 40);
  domain::Manifest held = tight.manifest("held");
  held.template_use = domain::TemplateUse::On;
  held.scale.min_template = 1;
  tight.deploy(held);
  ASSERT_EQ(tight.started.size(), 1u);
  tight.ready(0);
  tight.deploy(tight.manifest("big", 125));
  const domain::CallId id = tight.call("big", 1, Duration(0));
  ASSERT_EQ(tight.killed.size(), 1u);
  tight.post(ProcessGone{tight.started[0].process, "", Ending::Asked});
  ASSERT_EQ(tight.started.size(), 2u);
  tight.ready(1);
  tight.post(CallEnded{id});
  EXPECT_EQ(tight.started.size(), 2u) << "nothing is evicted for a hold";
  tight.post(ProcessGone{tight.started[1].process, "", Ending::Asked});
  ASSERT_EQ(tight.started.size(), 3u);
  EXPECT_EQ(tight.started[2].role, Role::Template);
}

TEST_F(Holds, HeldTemplateThatDoesNotLoad_IsTriedAgainAfterAWhile) {
  domain::Manifest made = manifest("f");
  made.scale.min_template = 1;
  world.deploy(made);
  world.post(ProcessGone{start(0).process, "broken", Ending::Itself});
  EXPECT_EQ(starts(), 1u);
  EXPECT_EQ(world.state("f"), domain::State::Failed);
  world.pass(10s);
  EXPECT_EQ(starts(), 2u);
}

TEST_F(Holds, PreloadToTemplate_HoldsItForItsTime) {
  world.deploy(manifest("f"));
  EXPECT_EQ(starts(), 0u);
  world.post(PreloadWanted{"f", Tier::Template, 60s});
  ASSERT_EQ(starts(), 1u);
  EXPECT_EQ(start(0).role, Role::Template);
  world.ready(0);
  ASSERT_EQ(view("f").holds.size(), 1u);
  EXPECT_EQ(view("f").holds[0].by, "preload");
  EXPECT_EQ(view("f").holds[0].until, world.now + 60s);
  world.pass(61s);
  EXPECT_TRUE(view("f").holds.empty());
  EXPECT_FALSE(is_killed(0)) << "it stays within the budget";
}

TEST_F(Holds, PreloadToReplica_StartsOneThatComputesFirst) {
  world.deploy(manifest("f"));
  world.post(PreloadWanted{"f", Tier::Replica, 60s});
  world.ready(0);
  ASSERT_EQ(starts(), 2u);
  EXPECT_EQ(start(1).role, Role::Replica);
  EXPECT_TRUE(start(1).ahead);
  EXPECT_FALSE(start(1).spare);
}

TEST_F(Holds, StartSomebodyWaitsFor_ComputesNothingFirst) {
  world.deploy(manifest("f"));
  world.call("f");
  world.ready(0);
  EXPECT_FALSE(start(1).ahead);
}

TEST_F(Holds, PreloadToMemory_ReadsTheFileOnceItIsPrepared) {
  domain::Manifest made = manifest("f");
  world.post(FunctionPut{made, 1});
  world.post(PreloadWanted{"f", Tier::Memory, 60s});
  EXPECT_TRUE(world.read.empty());
  world.post(ModelPrepared{"f", 1, {.path = "/m", .sha256 = "ab"}});
  ASSERT_EQ(world.read.size(), 1u);
  EXPECT_EQ(world.read[0].facts.path, "/m");
  world.post(Tick{});
  EXPECT_EQ(world.read.size(), 1u);
  EXPECT_EQ(starts(), 0u);
}

TEST_F(Holds, PreloadToDisk_FetchesAModelThatWasLost) {
  domain::Manifest made = manifest("f");
  world.post(FunctionPut{made, 1});
  world.post(ModelPrepared{"f", 1, {.path = "/m", .sha256 = "ab"}});
  world.post(ModelLost{"/m", "gone"});
  const std::size_t before = world.prepared.size();
  world.post(PreloadWanted{"f", Tier::Disk, 0s});
  EXPECT_EQ(world.prepared.size(), before + 1);
}

TEST_F(Holds, Stop_EndsWhatAPreloadHolds) {
  world.deploy(manifest("f"));
  world.post(PreloadWanted{"f", Tier::Template, kForever});
  world.post(StopWanted{"f"});
  EXPECT_TRUE(view("f").holds.empty());
}

TEST_F(Holds, Recalled_AreLoadedOneByOneWithinTheBudget) {
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i) {
    domain::Manifest made = manifest("f" + std::to_string(i));
    made.engine.fake.load_time = 10ms * (i + 1);
    world.post(FunctionPut{made, 1});
    names.push_back(made.name);
  }
  world.post(TemplatesRecalled{{"f2", "gone", "f0", "f1"}});
  EXPECT_EQ(starts(), 0u) << "its model is not prepared yet";
  for (const std::string& name : names) world.post(ModelPrepared{name, 1, {}});
  ASSERT_EQ(starts(), 1u);
  EXPECT_EQ(start(0).manifest.name, "f2");
  world.ready(0);
  ASSERT_EQ(starts(), 2u);
  EXPECT_EQ(start(1).manifest.name, "f0");
  world.ready(1);
  EXPECT_EQ(starts(), 2u) << "the budget has room for two";
}

TEST_F(Holds, Recalled_WaitForTheCallsThatCome) {
  world.deploy(world.manifest("busy"));
  const domain::CallId id = world.call("busy");
  world.ready(0);
  world.deploy(manifest("f"));
  world.post(TemplatesRecalled{{"f"}});
  EXPECT_EQ(starts(), 1u);
  world.post(CallEnded{id});
  EXPECT_EQ(starts(), 2u);
  EXPECT_EQ(start(1).role, Role::Template);
}

TEST_F(Holds, Schedule_HoldsReplicasWithinItsHoursOnly) {
  domain::Manifest made = world.manifest("f");
  made.keep_alive = 0s;
  made.schedule = {{.from = 60, .until = 120, .tier = Tier::Replica, .count = 2}};
  world.deploy(made);  // at midnight
  EXPECT_EQ(starts(), 0u);
  world.pass(std::chrono::hours(1));
  ASSERT_EQ(starts(), 2u);
  world.ready(0);
  world.ready(1);
  EXPECT_EQ(view("f").holds.at(0).by, "schedule");
  world.pass(std::chrono::minutes(59));
  EXPECT_TRUE(world.stopped.empty());
  world.pass(std::chrono::minutes(2));
  EXPECT_EQ(world.stopped.size(), 2u);
  world.pass(std::chrono::hours(24));
  EXPECT_GT(starts(), 2u) << "the next day";
}

TEST_F(Holds, ScheduledTemplate_IsLoadedWhenItsHourComes) {
  domain::Manifest made = manifest("f");
  made.schedule = {{.from = 60, .until = 120, .tier = Tier::Template}};
  world.deploy(made);
  EXPECT_EQ(starts(), 0u);
  world.pass(std::chrono::minutes(60));
  ASSERT_EQ(starts(), 1u);
  EXPECT_EQ(start(0).role, Role::Template);
}

// Else it would take the room back as often as it is made, and the call would wait for ever.
TEST(HeldReplica, EvictedForACall_IsNotStartedBeforeTheCallIsServed) {
  World world;
  domain::Manifest held = world.manifest("held", 400);
  held.scale.min = 1;
  world.deploy(held);
  world.ready(0);
  world.deploy(world.manifest("called", 700));
  world.call("called");
  ASSERT_EQ(world.stopped.size(), 1u);
  EXPECT_EQ(world.started.size(), 1u);
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "called");
}

TEST(HeldReplica, EvictsNobody) {
  World world;
  for (const char* name : {"a", "b"}) {
    domain::Manifest held = world.manifest(name, 600);
    held.scale.min = 1;
    world.deploy(held);
  }
  world.ready(0);
  world.pass(600s);
  EXPECT_EQ(world.started.size(), 1u);
  EXPECT_TRUE(world.stopped.empty());
  world.call("b");  // which does
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST(HeldReplica, ThatDoesNotFit_KeepsSmallerOnesFromNothing) {
  World world;
  world.deploy(world.manifest("called", 700));
  world.serve("called");
  for (const auto& [name, memory_mb] : {std::pair("large", 400), {"small", 200}}) {
    domain::Manifest held = world.manifest(name, memory_mb);
    held.scale.min = 1;
    world.deploy(held);
  }
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "small");
}

TEST(ComingRevision, DoesNotTakeTheRoomThatACallWaitsFor) {
  World world;
  world.deploy(world.manifest("idle", 300));
  world.serve("idle");
  world.deploy(world.manifest("replaced", 300));
  world.serve("replaced");
  world.deploy(world.manifest("called", 600));
  world.call("called");  // 400 are free: one of the idle ones goes
  ASSERT_EQ(world.stopped.size(), 1u);
  world.post(FunctionPut{world.manifest("replaced", 350), 2});
  world.post(ModelPrepared{"replaced", 2, {}});
  EXPECT_EQ(world.started.size(), 2u);
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_GE(world.started.size(), 3u);
  EXPECT_EQ(world.started[2].manifest.name, "called");
}

}  // namespace
}  // namespace glowplug::control
