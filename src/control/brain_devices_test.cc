// Which devices replicas get, in the brain: placed by size, reserved, given back, evicted for,
// corrected, quarantined.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

using domain::Device;
using domain::DeviceHealth;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kGB = 1'000'000'000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

class Devices : public testing::Test {
 protected:
  explicit Devices(std::vector<Device> accelerators = {{"T4", "T4", 16 * kGiB, 2},
                                                       {"A10G", "A10G", 24 * kGiB, 2},
                                                       {"A100", "A100", 40 * kGiB, 2}},
                   std::uint64_t memory_bytes = kGB)
      : world_(
            BrainOptions{.memory_bytes = memory_bytes, .cores = 4, .accelerators = accelerators}) {}

  domain::Manifest sized(const std::string& name, double gigabytes,
                         const std::string& device = "auto") const {
    domain::Manifest made = world_.manifest(name);
    made.resources.memory_bytes = static_cast<std::uint64_t>(gigabytes * 1e9);
    made.resources.device = device;
    return made;
  }
  void deploy(const std::string& name, double gigabytes, const std::string& device = "auto") {
    world_.deploy(sized(name, gigabytes, device));
  }
  // Starts it for a call, which stays.
  domain::CallId start(const std::string& name) {
    const domain::CallId call = world_.call(name);
    if (!world_.started.empty() && world_.started.back().manifest.name == name)
      world_.ready(world_.started.size() - 1);
    return call;
  }
  void end(domain::CallId call) { world_.post(CallEnded{call}); }
  void gone(Ending ending = Ending::Asked) { gone(world_.started.back().process, ending); }
  void gone(domain::ProcessId process, Ending ending = Ending::Asked) {
    world_.post(ProcessGone{process, "it ended", ending});
  }
  // "A10G:1", "A100:0 A100:1": of its last replica; empty when it has none.
  std::string on(const std::string& name) const {
    const auto view = world_.brain.function(name);
    std::string names;
    if (view->replicas.empty()) return names;
    for (const std::string& one : view->replicas.back().devices)
      names += (names.empty() ? "" : " ") + one;
    return names;
  }
  std::string reason(const std::string& name) const {
    const auto view = world_.brain.function(name);
    return view->placement ? view->placement->reason : "";
  }
  DeviceView device(const std::string& name) const {
    for (const DeviceView& view : world_.brain.devices())
      if (view.device.name == name) return view;
    ADD_FAILURE() << name;
    return {};
  }
  std::string last(const std::string& decision) const {
    for (auto one = world_.decisions.rbegin(); one != world_.decisions.rend(); ++one)
      if (one->decision == decision) return one->reason;
    return "";
  }
  void never_over_committed() const {
    for (const DeviceView& view : world_.brain.devices())
      EXPECT_LE(view.reserved_bytes, view.device.memory_bytes) << view.device.name;
  }

  World world_;
};

TEST_F(Devices, MixedFleet_IsPlacedBySize) {
  for (const auto& [name, size] : std::vector<std::pair<std::string, double>>{
           {"tiny", 1}, {"small", 7}, {"medium", 12}, {"wide", 25}, {"large", 60}}) {
    deploy(name, size);
    start(name);
  }
  EXPECT_EQ(on("tiny"), "T4:0");
  EXPECT_EQ(on("small"), "T4:0");
  EXPECT_EQ(on("medium"), "A10G:0");
  EXPECT_EQ(on("wide"), "A10G:1");
  EXPECT_EQ(on("large"), "A100:0 A100:1");
  EXPECT_EQ(device("T4:0").reserved_bytes, 8 * kGB);
  EXPECT_EQ(device("A100:1").reserved_bytes, 30 * kGB);
  EXPECT_THAT(device("T4:0").functions, ElementsAre("small", "tiny"));
  EXPECT_THAT(device("A100:1").functions, ElementsAre("large"));
  EXPECT_THAT(device("T4:1").functions, IsEmpty());
  EXPECT_LT(device("CPU").reserved_bytes, kGB / 5);  // only what the fake engine really takes
  never_over_committed();
}

TEST_F(Devices, Placement_IsShownWithItsReason_BeforeAnyCall) {
  deploy("medium", 12);
  const auto placed = world_.brain.function("medium")->placement;
  ASSERT_TRUE(placed);
  EXPECT_EQ(in_words(*placed), "A10G");
  EXPECT_EQ(placed->reason, "12.0 GB: A10G by size (12.0 GB of 25.8 GB)");
  EXPECT_EQ(last("place"), "revision 1 on A10G: 12.0 GB: A10G by size (12.0 GB of 25.8 GB)");
  EXPECT_TRUE(world_.started.empty());
  start("medium");
  EXPECT_EQ(reason("medium"), "12.0 GB: A10G by size (12.0 GB of 25.8 GB): A10G:0, 13.8 GB left");
}

TEST_F(Devices, BytesComeBack_WhenTheReplicaIsGone) {
  deploy("f", 12);
  end(start("f"));
  EXPECT_EQ(device("A10G:0").reserved_bytes, 12 * kGB);
  world_.pass(301s);
  ASSERT_EQ(world_.stopped.size(), 1u);
  EXPECT_EQ(device("A10G:0").reserved_bytes, 12 * kGB);  // until its process has ended
  gone();
  EXPECT_EQ(device("A10G:0").reserved_bytes, 0u);
}

TEST_F(Devices, LargerThanEveryDevice_FailsAtDeploy_AndNamesTheLargest) {
  deploy("huge", 90);
  EXPECT_EQ(world_.state("huge"), domain::State::Failed);
  EXPECT_THAT(world_.brain.function("huge")->reason,
              HasSubstr("`huge` needs 90.0 GB and the largest device here is A100:0 with 42.9 GB"));
  world_.call("huge");
  ASSERT_EQ(world_.refused.size(), 1u);
  EXPECT_EQ(world_.refused[0].error.code, "does_not_fit");
  EXPECT_TRUE(world_.started.empty());
  EXPECT_FALSE(world_.brain.may_place(sized("huge", 90)).ok());
  EXPECT_TRUE(world_.brain.may_place(sized("fits", 60)).ok());
  EXPECT_EQ(world_.brain.may_place(sized("f", 1, "H100")).error().code, "unsupported_value");
}

TEST_F(Devices, NewRevisionThatFitsNoDevice_LeavesTheOldServing) {
  deploy("f", 5);
  end(start("f"));
  world_.deploy(sized("f", 90), 2);
  const auto view = world_.brain.function("f");
  EXPECT_EQ(view->revision, 1);
  EXPECT_EQ(view->state, domain::State::Ready);
  EXPECT_THAT(view->reason, HasSubstr("revision 2 did not start: `f` needs 90.0 GB"));
}

TEST_F(Devices, ManifestsWish_ComesBeforeTheRule) {
  deploy("a", 1, "A100");
  deploy("b", 1, "A10G:1");
  deploy("c", 20, "T4 x2");
  deploy("d", 0.1, "cpu");
  for (const char* name : {"a", "b", "c", "d"}) start(name);
  EXPECT_EQ(on("a"), "A100:0");
  EXPECT_EQ(on("b"), "A10G:1");
  EXPECT_EQ(on("c"), "T4:0 T4:1");
  EXPECT_EQ(on("d"), "CPU");
  EXPECT_THAT(device("CPU").functions, ElementsAre("d"));
}

TEST_F(Devices, RarelyCalledFunction_GoesToTheSmallestThatFits) {
  deploy("rare", 10);
  end(start("rare"));
  EXPECT_EQ(on("rare"), "A10G:0");  // how often it is called is not known yet
  world_.pass(2h);
  gone();
  start("rare");
  EXPECT_EQ(on("rare"), "T4:0");
  EXPECT_THAT(reason("rare"), HasSubstr("rarely called: the smallest device that fits"));
}

TEST_F(Devices, OnAnAccelerator_NothingIsForked) {
  World world(BrainOptions{.memory_bytes = 4 * kGB,
                           .template_bytes = 2 * kGB,
                           .cores = 4,
                           .accelerators = {{"T4", "T4", 16 * kGiB, 1}}});
  domain::Manifest manifest;
  manifest.name = "f";
  manifest.model = "m";
  world.post(FunctionPut{manifest, 1});
  domain::ModelFacts facts;
  facts.weight_bytes = kGB;
  world.post(ModelPrepared{"f", 1, facts});
  world.call("f");
  ASSERT_EQ(world.started.size(), 1u);
  EXPECT_EQ(world.started[0].role, Role::Replica);
  EXPECT_THAT(world.brain.function("f")->replicas.at(0).devices, ElementsAre("T4:0"));
  EXPECT_GT(world.brain.reserved_bytes(), kGB);  // a real engine's memory is this machine's too
}

class OneDevice : public Devices {
 protected:
  OneDevice() : Devices({{"T4", "T4", 16 * kGiB, 1}}, 64 * kGB) {}
};

TEST_F(OneDevice, Full_IdleReplicaGivesWay_LeastRecentlyUsedFirst) {
  for (const char* name : {"a", "b", "c"}) deploy(name, 7);
  end(start("a"));
  world_.now += 1s;
  end(start("b"));
  start("c");
  ASSERT_EQ(world_.stopped.size(), 1u);
  EXPECT_EQ(world_.stopped[0], world_.started[0].process);
  EXPECT_THAT(last("stop"), HasSubstr("its T4 needed by c"));
  EXPECT_EQ(world_.started.size(), 2u);  // a's process has not ended
  gone(world_.stopped[0]);
  ASSERT_EQ(world_.started.size(), 3u);
  EXPECT_EQ(on("c"), "T4:0");
  never_over_committed();
}

TEST_F(OneDevice, WhatIsOnItsWay_IsWaitedFor_NotStoppedTwice) {
  for (const char* name : {"a", "b", "c"}) deploy(name, 8);
  end(start("a"));
  end(start("b"));
  start("c");
  world_.call("c");
  world_.pass(5s);
  EXPECT_EQ(world_.stopped.size(), 1u);
}

TEST_F(OneDevice, Busy_CallsWait_ThenOneGetsNoNewCalls) {
  deploy("a", 15);
  deploy("b", 15);
  const domain::CallId busy = start("a");
  start("b");
  EXPECT_TRUE(world_.stopped.empty());
  world_.pass(domain::kTurn);
  EXPECT_EQ(world_.state("a"), domain::State::Draining);
  EXPECT_THAT(last("drain"), HasSubstr("b has waited 2.0 s for its device"));
  end(busy);
  gone(world_.started[0].process);
  EXPECT_EQ(on("b"), "T4:0");
}

TEST_F(OneDevice, Busy_OneMakesRoom_AndNoOtherWhileItsAnswerRuns) {
  for (const char* name : {"a", "b", "c"}) {
    deploy(name, 5);
    start(name);
  }
  deploy("d", 5);
  world_.call("d");
  world_.pass(domain::kTurn);
  for (int i = 0; i < 3; ++i) world_.pass(1s);
  int draining = 0;
  for (const char* name : {"a", "b", "c"})
    draining += world_.state(name) == domain::State::Draining;
  EXPECT_EQ(draining, 1);
}

TEST_F(OneDevice, HeldReplicas_DoNotPushEachOtherOut) {
  domain::Manifest a = sized("a", 12), b = sized("b", 12);
  a.scale.min = b.scale.min = 1;
  world_.deploy(a);
  world_.ready(0);
  world_.deploy(b);
  world_.pass(60s);
  EXPECT_TRUE(world_.stopped.empty());
  EXPECT_EQ(world_.started.size(), 1u);
  world_.call("b");  // a call counts for more
  ASSERT_EQ(world_.stopped.size(), 1u);
  gone(world_.stopped[0]);  // and a does not take the room again
  EXPECT_EQ(on("b"), "T4:0");
  EXPECT_EQ(on("a"), "");
}

TEST_F(OneDevice, RevisionThatFollows_TakesTheOldOnesPlace) {
  domain::Manifest f = sized("f", 12);
  f.scale.min = 1;
  world_.deploy(f);
  world_.ready(0);
  f.context = 4096;
  world_.deploy(f, 2);
  ASSERT_EQ(world_.stopped.size(), 1u);
  gone(world_.stopped[0]);
  ASSERT_EQ(world_.started.size(), 2u);
  EXPECT_EQ(world_.started[1].revision, 2);
}

TEST_F(OneDevice, MeasuredMore_IsCorrected_AndWhatIsIdleGoes) {
  deploy("a", 10);
  deploy("b", 7);
  end(start("a"));
  start("b");
  const domain::ProcessId b = world_.started[1].process;
  world_.post(MemoryMeasured{b, 9 * kGB, 9 * kGB});
  EXPECT_EQ(device("T4:0").reserved_bytes, 16 * kGiB);  // all there is, and not more
  ASSERT_EQ(world_.stopped.size(), 1u);
  EXPECT_THAT(last("stop"), HasSubstr("evicted: T4:0 is"));
  gone(world_.stopped[0]);
  EXPECT_GT(device("T4:0").reserved_bytes, 9 * kGB);
  EXPECT_LT(device("T4:0").reserved_bytes, 10 * kGB);
}

TEST_F(OneDevice, Load_GrowsIntoWhatIsFree_AndPushesNobodyOut) {
  for (const double other : {5.0, 0.5}) {
    SCOPED_TRACE(other);
    world_.use(BrainOptions{.memory_bytes = 64 * kGB,
                            .cores = 1,  // a replica on an accelerator takes none of them
                            .accelerators = {{"T4", "T4", 16 * kGiB, 1}}});
    world_.started.clear();
    world_.stopped.clear();
    deploy("other", other);
    end(start("other"));
    domain::Manifest f = sized("f", 8);
    f.slots = 1;
    world_.deploy(f);
    for (int i = 0; i < 6; ++i) world_.call("f");
    world_.ready(1);
    world_.pass(20s);
    EXPECT_EQ(world_.started.size(), other > 1 ? 2u : 3u);
    EXPECT_TRUE(world_.stopped.empty());
    never_over_committed();
  }
}

TEST_F(OneDevice, ReplicasOnIt_TakeNoCoresFromThoseThatGrowHere) {
  deploy("there", 8);
  start("there");  // and works, with as many threads as there are cores
  domain::Manifest here = sized("here", 1, "cpu");
  here.slots = 1;
  here.resources.threads = 1;
  world_.deploy(here);
  for (int i = 0; i < 6; ++i) world_.call("here");
  world_.ready(1);
  world_.pass(2s);
  EXPECT_EQ(world_.brain.function("here")->replicas.size(), 4u);
}

TEST_F(OneDevice, FunctionThatDoesNotStart_FailsAtOnce_AndTheDeviceStaysHealthy) {
  deploy("broken", 5);
  for (int i = 0; i < 4; ++i) {
    world_.call("broken");
    gone(Ending::Itself);
    world_.pass(1min);
  }
  EXPECT_EQ(world_.refused.size(), 4u);
  EXPECT_EQ(device("T4:0").health, DeviceHealth::Healthy);
  EXPECT_EQ(device("T4:0").failed_starts, 4);
  EXPECT_EQ(device("T4:0").reserved_bytes, 0u);
}

TEST_F(OneDevice, StartsOfSeveralFunctionsFail_QuarantinedThenTried) {
  for (const char* name : {"a", "b", "c", "d"}) deploy(name, 5);
  for (const char* name : {"a", "b", "c"}) {
    world_.call(name);
    gone(Ending::Itself);
  }
  EXPECT_EQ(device("T4:0").health, DeviceHealth::Quarantined);
  EXPECT_THAT(last("quarantine"), HasSubstr("T4:0 takes no starts for 30.0 s: 3 in a row failed"));
  world_.call("d");
  EXPECT_EQ(world_.started.size(), 3u);
  world_.pass(30s);
  ASSERT_EQ(world_.started.size(), 4u);
  EXPECT_EQ(device("T4:0").health, DeviceHealth::OnTrial);
  world_.ready(3);
  EXPECT_EQ(device("T4:0").health, DeviceHealth::Healthy);
  EXPECT_EQ(world_.granted.size(), 1u);
}

TEST_F(Devices, FailedStart_IsTriedOnceOnAnotherDevice) {
  deploy("f", 5);
  world_.call("f");
  EXPECT_EQ(on("f"), "T4:0");
  gone(Ending::Itself);
  EXPECT_EQ(on("f"), "T4:1");
  EXPECT_THAT(last("retry"), HasSubstr("its start on T4:0 failed"));
  EXPECT_TRUE(world_.refused.empty());
  gone(Ending::Itself);
  EXPECT_EQ(world_.refused.size(), 1u);  // it is the function
}

TEST_F(Devices, StartElsewhereSucceeds_TheFirstDeviceIsToBlame) {
  deploy("f", 5);
  for (int i = 0; i < 3; ++i) {
    deploy("g" + std::to_string(i), 5, "T4:0");
    world_.call("g" + std::to_string(i));
    gone(Ending::Itself);
  }
  EXPECT_EQ(device("T4:0").health, DeviceHealth::Quarantined);
  world_.call("f");
  EXPECT_EQ(on("f"), "T4:1");
}

TEST_F(Devices, StoppedWhileLoading_SaysNothingOfTheDevice) {
  deploy("f", 5);
  world_.call("f");
  world_.post(StopWanted{"f"});
  EXPECT_EQ(device("T4:0").reserved_bytes, 10 * kGB);  // the call that waits starts another
  gone(world_.started[0].process, Ending::Itself);
  EXPECT_EQ(device("T4:0").failed_starts, 0);
  EXPECT_EQ(device("T4:0").reserved_bytes, 5 * kGB);
}

class NoAccelerator : public Devices {
 protected:
  NoAccelerator() : Devices(std::vector<Device>{}) {}
};

TEST_F(NoAccelerator, TheCpuIsTheDevice) {
  deploy("f", 0.3);
  start("f");
  EXPECT_EQ(on("f"), "CPU");
  EXPECT_THAT(reason("f"), HasSubstr("there is no accelerator that it could use"));
  EXPECT_EQ(last("place"), "");
  EXPECT_EQ(device("CPU").reserved_bytes, 300 * kMB);
  EXPECT_THAT(device("CPU").functions, ElementsAre("f"));
  EXPECT_EQ(world_.brain.devices().size(), 1u);
}

TEST_F(NoAccelerator, LargerThanTheMachine_FailsAtDeploy) {
  deploy("f", 2);
  EXPECT_EQ(world_.state("f"), domain::State::Failed);
  EXPECT_THAT(world_.brain.function("f")->reason,
              HasSubstr("`f` needs 2.0 GB and the largest device here is CPU with 1.0 GB"));
  const auto refused = world_.brain.may_place(sized("f", 2));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().param, "resources.device");
  EXPECT_THAT(refused.error().message, HasSubstr("the largest device here is CPU with 1.0 GB"));
  EXPECT_TRUE(world_.brain.may_place(sized("f", 0.5)).ok());
  domain::Manifest unknown = sized("f", 0);
  unknown.model = "https://example.com/large.gguf";  // told once its header is read
  EXPECT_TRUE(world_.brain.may_place(unknown).ok());
}

TEST_F(NoAccelerator, WishForAGpu_IsAFaultOfTheBuiltInEngineAlone) {
  deploy("f", 0.1, "gpu");
  EXPECT_THAT(world_.brain.function("f")->reason, HasSubstr("asks for gpu"));
  domain::Manifest foreign = sized("vllm", 0.1, "gpu");
  foreign.engine.kind = domain::EngineKind::Process;
  world_.deploy(foreign);
  start("vllm");
  EXPECT_EQ(on("vllm"), "CPU");  // its engine finds its GPU itself
}

TEST(FoundGpus, AreForTheBuiltInEngineWhereItIsBuiltForThem) {
  const auto gpu = [](int i) {
    return Device{.name = "H100",
                  .type = "H100",
                  .memory_bytes = 80 * kGiB,
                  .origin = domain::DeviceOrigin::Found,
                  .uuid = "GPU-" + std::to_string(i)};
  };
  for (const bool built_for_gpus : {true, false}) {
    World world(BrainOptions{.memory_bytes = 20 * kGB,
                             .cores = 4,
                             .accelerators = {gpu(0), gpu(1)},
                             .engine_on_gpu = built_for_gpus});
    const auto start = [&world](const std::string& name, const std::string& device) {
      domain::Manifest manifest;
      manifest.name = name;
      manifest.model = "m";
      manifest.resources.device = device;
      world.post(FunctionPut{manifest, 1});
      domain::ModelFacts facts;
      facts.weight_bytes = kGB;
      world.post(ModelPrepared{name, 1, facts});
      world.call(name);
      return world.brain.function(name)->replicas.at(0).devices;
    };
    EXPECT_THAT(start("f", "auto"), ElementsAre(built_for_gpus ? "H100:0" : "CPU"));
    EXPECT_EQ(world.started.back().gpus,
              built_for_gpus ? std::optional<std::string>("GPU-0") : std::nullopt);
    EXPECT_THAT(start("c", "cpu"), ElementsAre("CPU"));
    EXPECT_EQ(world.started.back().gpus,
              built_for_gpus ? std::optional<std::string>("") : std::nullopt);
    if (!built_for_gpus) continue;
    EXPECT_THAT(start("two", "H100 x2"), ElementsAre("H100:0", "H100:1"));
    EXPECT_EQ(world.started.back().gpus, std::nullopt);  // all there are
  }
}

// Threads of the next start beside one that works, and that asked for a number of its own.
TEST(CoresOfAStart, WhatANeighbourAskedFor_IsItsOwn) {
  World world(1000);  // 4 cores
  domain::Manifest a = world.manifest("a");
  a.resources.threads = 1;
  world.deploy(a);
  world.call("a");
  world.ready(0);
  world.deploy(world.manifest("b"));
  world.call("b");
  EXPECT_EQ(world.started.at(1).threads, 3);
}

}  // namespace
}  // namespace glowplug::control
