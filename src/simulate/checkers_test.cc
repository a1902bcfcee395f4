// What each rule forbids, turn by turn, with a brain that was told of nothing: where a rule is
// broken is found in what passes between brain and world. mutants_test.cc breaks whole brains.
#include "simulate/checkers.h"

#include <gtest/gtest.h>

#include "policy/batch_freeze.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

using domain::CallId;
using domain::ProcessId;

class Rules : public ::testing::Test {
 protected:
  using List = std::vector<control::Effect>;

  void turn(Duration at, const control::Event& event, List list = {}) {
    const control::Effects effects{.list = std::move(list), .wake_at = {}};
    const Turn turn{.event = event, .effects = effects, .now = Time(at), .brain = brain};
    books.enter(turn);
    checker->turned(turn, verdict);
  }
  std::string found() const { return verdict.violation() ? verdict.violation()->rule : ""; }

  void put(Duration at, const domain::Manifest& manifest, int revision = 1) {
    turn(at, control::FunctionPut{manifest, revision});
  }
  static control::Effect start(std::uint64_t process, const domain::Manifest& manifest,
                               int revision = 1) {
    return control::StartProcess{.process = ProcessId{process},
                                 .manifest = manifest,
                                 .revision = revision,
                                 .facts = {},
                                 .limits = {}};
  }
  void ready(Duration at, std::uint64_t process) {
    turn(at, control::ProcessReady{.process = ProcessId{process}});
  }
  static control::Event arrival(std::uint64_t call, const domain::Manifest& manifest,
                                const std::string& tenant) {
    return control::CallArrived{.call = CallId{call},
                                .function = manifest.name,
                                .deadline = Time(10min),
                                .keep_alive = {},
                                .domain = {.tenant = tenant, .salt = ""}};
  }
  static control::Effect bound(std::uint64_t process, const std::string& tenant) {
    return control::BindReplica{ProcessId{process}, {.tenant = tenant, .salt = ""}};
  }
  static control::Effect grant(std::uint64_t call, std::uint64_t process, int revision = 1) {
    return control::GrantCall{.call = CallId{call},
                              .replica = ProcessId{process},
                              .revision = revision,
                              .waited = {},
                              .bytes_read = {}};
  }
  static control::Event end(std::uint64_t call) { return control::CallEnded{CallId{call}}; }
  static control::Effect stop(std::uint64_t process) {
    return control::StopProcess{ProcessId{process}};
  }
  static control::Effect freeze(std::uint64_t process, bool frozen) {
    return control::FreezeReplica{ProcessId{process}, frozen};
  }
  static domain::Manifest function(const std::string& name = "f") {
    domain::Manifest manifest;
    manifest.name = name;
    manifest.scale.max = 1;
    return manifest;
  }

  control::Brain brain{control::BrainOptions{}};
  Books books;
  Verdict verdict;
  std::unique_ptr<Checker> checker;
};

// --- bounds ---

class BoundsRule : public Rules {
 protected:
  BoundsRule() { checker = make_bounds_checker(books); }
};

TEST_F(BoundsRule, StartBesideAnIdleReplicaBeyondMax_IsFound) {
  const domain::Manifest one = function();
  put(0s, one);
  turn(1s, control::Tick{}, {start(1, one)});
  ready(2s, 1);
  EXPECT_EQ(found(), "");
  turn(3s, control::Tick{}, {start(2, one)});
  EXPECT_EQ(found(), "bounds");
}

TEST_F(BoundsRule, BusyReplicaThatGoesOnBeyondMax_IsFoundWithItsNextCall) {
  const domain::Manifest one = function();
  put(0s, one);
  turn(1s, control::Tick{}, {start(1, one)});
  turn(2s, arrival(1, one, ""));
  turn(3s, control::ProcessReady{.process = ProcessId{1}}, {grant(1, 1)});
  turn(4s, control::Tick{}, {start(2, one)});  // the first may be about to go
  ready(5s, 2);
  turn(6s, arrival(2, one, ""), {grant(2, 2)});
  EXPECT_EQ(found(), "");
  turn(7s, arrival(3, one, ""), {grant(3, 1)});
  EXPECT_EQ(found(), "bounds");
}

TEST_F(BoundsRule, BusyReplicaThatGoesOnceItIsDone_IsNone) {
  const domain::Manifest one = function();
  put(0s, one);
  turn(1s, control::Tick{}, {start(1, one)});
  turn(2s, arrival(1, one, ""));
  turn(3s, control::ProcessReady{.process = ProcessId{1}}, {grant(1, 1)});
  turn(4s, control::Tick{}, {start(2, one)});
  turn(5s, end(1), {stop(1)});
  ready(6s, 2);
  turn(7s, arrival(2, one, ""), {grant(2, 2)});
  EXPECT_EQ(found(), "");
}

TEST_F(BoundsRule, BusyReplicaThatStaysIdleBeyondMax_IsFound) {
  const domain::Manifest one = function();
  put(0s, one);
  turn(1s, control::Tick{}, {start(1, one)});
  turn(2s, arrival(1, one, ""));
  turn(3s, control::ProcessReady{.process = ProcessId{1}}, {grant(1, 1)});
  turn(4s, control::Tick{}, {start(2, one)});
  turn(5s, end(1));
  EXPECT_EQ(found(), "bounds");
}

TEST_F(BoundsRule, RevisionThatTakesOver_StartsBesideTheOtherUntilItIsReady) {
  const domain::Manifest one = function();
  put(0s, one);
  turn(1s, control::Tick{}, {start(1, one)});
  ready(2s, 1);
  put(3s, one, 2);
  turn(4s, control::Tick{}, {start(2, one, 2)});
  EXPECT_EQ(found(), "");
  ready(5s, 2);  // and the first one stays
  EXPECT_EQ(found(), "bounds");
}

TEST_F(BoundsRule, ReplicaBelowMinThatStopsForNobody_IsFound) {
  domain::Manifest held = function();
  held.scale.min = 1;
  put(0s, held);
  turn(1s, control::Tick{}, {start(1, held)});
  ready(2s, 1);
  turn(400s, control::Tick{}, {stop(1)});
  EXPECT_EQ(found(), "bounds");
}

TEST_F(BoundsRule, ReplicaBelowMinThatStopsForAnothersCall_IsNone) {
  domain::Manifest held = function(), other = function("other");
  held.scale.min = 1;
  put(0s, held);
  turn(1s, control::Tick{}, {start(1, held)});
  ready(2s, 1);
  put(3s, other);
  turn(399s, arrival(1, other, ""));
  turn(400s, control::Tick{}, {stop(1)});
  EXPECT_EQ(found(), "");
}

TEST_F(BoundsRule, CallThatWaitsBeyondTheQueue_IsFound) {
  domain::Manifest one = function();
  one.limits.queue = 1;
  put(0s, one);
  turn(1s, arrival(1, one, ""));
  EXPECT_EQ(found(), "");
  turn(1s, arrival(2, one, ""));
  EXPECT_EQ(found(), "bounds");
}

// --- fairness ---

class FairnessRule : public Rules {
 protected:
  FairnessRule() { checker = make_fairness_checker(books); }
  // A replica that serves t1, and has a call of it.
  void serve_first(const domain::Manifest& manifest) {
    put(0s, manifest);
    turn(1s, arrival(1, manifest, "t1"), {start(1, manifest)});
    turn(2s, control::ProcessReady{.process = ProcessId{1}}, {bound(1, "t1"), grant(1, 1)});
  }
};

TEST_F(FairnessRule, OthersReplicaThatGoesOnBeyondATurn_IsFound) {
  const domain::Manifest one = function();
  serve_first(one);
  turn(3s, arrival(2, one, "t2"));
  turn(5s, arrival(3, one, "t1"), {grant(3, 1)});  // its turn is not over
  EXPECT_EQ(found(), "");
  turn(5001ms, arrival(4, one, "t1"), {grant(4, 1)});
  EXPECT_EQ(found(), "fairness");
}

TEST_F(FairnessRule, OneOfTheOthersReplicasThatEnds_IsEnough) {
  domain::Manifest two = function();
  two.scale.max = 2;
  serve_first(two);
  turn(2s, arrival(2, two, "t1"), {start(2, two)});
  turn(2500ms, control::ProcessReady{.process = ProcessId{2}}, {bound(2, "t1"), grant(2, 2)});
  turn(3s, arrival(3, two, "t2"));
  turn(6s, arrival(4, two, "t1"), {grant(4, 1)});
  EXPECT_EQ(found(), "");
  turn(7s, arrival(5, two, "t1"), {grant(5, 2)});
  EXPECT_EQ(found(), "fairness");
}

TEST_F(FairnessRule, ReplicasThatAreOthersTimeAndAgain_AreFound) {
  const domain::Manifest one = function();
  serve_first(one);
  turn(3s, arrival(2, one, "t2"));
  std::uint64_t call = 2, process = 1;
  turn(4s, end(1), {stop(1)});
  for (Duration at = 5s; at < 60s && found().empty(); at += 1s) {
    turn(at, arrival(++call, one, "t1"), {start(++process, one)});
    turn(at + 100ms, control::ProcessReady{.process = ProcessId{process}},
         {bound(process, "t1"), grant(call, process)});
    turn(at + 800ms, end(call), {stop(process)});
    turn(at + 900ms, control::ProcessGone{ProcessId{process}, "", control::Ending::Asked});
  }
  EXPECT_EQ(found(), "fairness");
}

TEST_F(FairnessRule, SlotThatIsAnothersTimeAndAgain_IsFound) {
  domain::Manifest shared = function();
  shared.share = domain::Share::Function;
  put(0s, shared);
  turn(1s, arrival(1, shared, "t1"), {start(1, shared)});
  turn(2s, control::ProcessReady{.process = ProcessId{1}}, {grant(1, 1)});
  turn(3s, arrival(2, shared, "t2"));
  turn(3s, arrival(3, shared, "t1"));
  turn(4s, end(1), {grant(3, 1)});
  turn(4s, arrival(4, shared, "t1"));
  turn(6s, end(3), {grant(4, 1)});
  EXPECT_EQ(found(), "");
  std::uint64_t call = 4;
  for (Duration at = 6s; at < 60s && found().empty(); at += 2s) {
    turn(at, arrival(++call, shared, "t1"));
    turn(at + 2s, end(call - 1), {grant(call, 1)});
  }
  EXPECT_EQ(found(), "fairness");
}

TEST_F(FairnessRule, SlotThatGoesFromOneToTheOther_IsFair) {
  domain::Manifest shared = function();
  shared.share = domain::Share::Function;
  put(0s, shared);
  turn(0s, arrival(1, shared, "t1"), {start(1, shared)});
  turn(0s, arrival(2, shared, "t2"));
  turn(0s, control::ProcessReady{.process = ProcessId{1}}, {grant(1, 1)});
  std::uint64_t call = 2;
  for (Duration at = 2s; at < 100s; at += 2s) {
    ++call;
    turn(at, arrival(call, shared, call % 2 == 0 ? "t2" : "t1"));
    turn(at, end(call - 2), {grant(call - 1, 1)});
  }
  EXPECT_EQ(found(), "");
}

// --- freezes ---

class FreezeRule : public Rules {
 protected:
  FreezeRule() { checker = make_freeze_checker(books); }
  // Replica 1 has a call of batch work, and 2 one of other work.
  void SetUp() override {
    domain::Manifest batch = function("batch");
    batch.priority = domain::Priority::Batch;
    const domain::Manifest other = function("other");
    std::uint64_t number = 0;
    for (const domain::Manifest& one : {batch, other}) {
      put(0s, one);
      ++number;
      turn(0s, arrival(number, one, ""), {start(number, one)});
      turn(0s, control::ProcessReady{.process = ProcessId{number}}, {grant(number, number)});
    }
  }
  static constexpr Duration kMost = policy::kFrozenMost, kLeast = policy::kRunsLeast;
};

TEST_F(FreezeRule, BatchWorkThatStandsForLong_IsFound) {
  turn(0s, control::Tick{}, {freeze(1, true)});
  turn(kMost, control::Tick{});
  EXPECT_EQ(found(), "");
  turn(kMost + 1ms, control::Tick{});
  EXPECT_EQ(found(), "freezes");
}

TEST_F(FreezeRule, PausesAreAddedUpUntilItHasRun) {
  turn(0s, control::Tick{}, {freeze(1, true)});
  turn(6s, control::Tick{}, {freeze(1, false)});
  turn(7s, control::Tick{}, {freeze(1, true)});
  turn(11s, control::Tick{}, {freeze(1, false)});
  turn(12s, control::Tick{}, {freeze(1, true)});  // it ran for two seconds
  turn(22s, control::Tick{}, {freeze(1, false)});
  turn(23s, control::Tick{}, {freeze(1, true)});
  EXPECT_EQ(found(), "");
  turn(24s, control::Tick{});
  EXPECT_EQ(found(), "freezes");
}

TEST_F(FreezeRule, OtherWorkThatStands_IsFound) {
  turn(0s, control::Tick{}, {freeze(2, true)});
  EXPECT_EQ(found(), "freezes");
}

TEST_F(FreezeRule, ReplicaThatStandsWithoutWork_IsFound) {
  turn(0s, control::Tick{}, {freeze(1, true)});
  turn(1s, end(1));
  EXPECT_EQ(found(), "freezes");
}

TEST_F(FreezeRule, BatchWorkThatStandsForNobody_IsFound) {
  turn(0s, control::Tick{}, {freeze(1, true)});
  EXPECT_EQ(found(), "");
  turn(1s, end(2));
  EXPECT_EQ(found(), "freezes");
}

// --- devices ---

// One device, and a function that goes there.
class DeviceRule : public WatchedWorld {
 protected:
  // What the world does, and with that what a test makes up.
  class Watch final : public Observer {
   public:
    explicit Watch(const WorldModel& model) : checker(make_device_checker(model)) {}
    void turned(const Turn& turn) override { checker->turned(turn, verdict); }
    std::unique_ptr<Checker> checker;
    Verdict verdict;
  };

  void SetUp() override {
    model = exact();
    model.machine.devices = {{.name = "T4", .type = "T4", .memory_bytes = 2'000 * kMegabyte}};
    make(model);
    watch = std::make_unique<Watch>(model);
    world->watch(*watch);
    answer(world->deploy("f"));
    ASSERT_EQ(world->processes(World::Kind::Replica).size(), 1u);
    ASSERT_FALSE(watch->verdict.violation());
  }
  std::string after(const control::Event& event, const control::Effects& effects = {},
                    std::span<const HeldOnDevice> devices = {}) {
    watch->turned({.event = event,
                   .effects = effects,
                   .now = world->now(),
                   .brain = controller->brain(),
                   .devices = devices});
    return watch->verdict.violation() ? watch->verdict.violation()->what : "";
  }
  ProcessId replica() const { return world->processes(World::Kind::Replica).front(); }

  WorldModel model;
  std::unique_ptr<Watch> watch;
};

TEST_F(DeviceRule, ReservationThatOutlivesItsProcess_IsFound) {
  EXPECT_NE(after(control::ProcessGone{replica(), "", control::Ending::Asked}).find("may come to"),
            std::string::npos);
}

TEST_F(DeviceRule, ReservationOfLessThanIsHeld_IsFound) {
  const std::uint64_t bytes = 1'000 * kMegabyte;
  EXPECT_NE(after(control::MemoryMeasured{replica(), bytes, bytes}).find("there hold"),
            std::string::npos);
}

TEST_F(DeviceRule, StartBesideWhatHoldsTheWholeDevice_IsFound) {
  const std::uint64_t bytes = 1'950 * kMegabyte;
  world->post(control::MemoryMeasured{replica(), bytes, bytes});
  ASSERT_FALSE(watch->verdict.violation());
  control::Effects effects;
  effects.list.push_back(control::StartProcess{.process = ProcessId{99},
                                               .manifest = world->manifest(0),
                                               .revision = 1,
                                               .facts = facts_of(model, "f"),
                                               .limits = {},
                                               .devices = {domain::DeviceId{0}}});
  EXPECT_NE(after(control::Tick{}, effects).find("starts on T4:0"), std::string::npos);
}

TEST_F(DeviceRule, ProcessesThatHoldMoreThanItHas_AreFound) {
  const HeldOnDevice held{.bytes = 2'001 * kMegabyte};
  EXPECT_NE(after(control::MemoryMeasured{replica(), 1, 1}, {}, {&held, 1}).find("are held on"),
            std::string::npos);
}

}  // namespace
}  // namespace glowplug::simulate
