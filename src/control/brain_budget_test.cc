// Budgets: of one function (scale.budget) and of all (budget_per_hour), of money and of bytes.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/test_load.h"
#include "domain/errors.h"

namespace glowplug::control {
namespace {

using domain::Money;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Money kOneCpu{50'000};
constexpr Money kTwoCpus{100'000};

// Functions of one slot, one core and 100 MB on the CPU, which costs 0.05 an hour.
class Budgets : public LoadScaling {
 protected:
  domain::Manifest with(domain::Budget budget, const std::string& name = "f") const {
    domain::Manifest made = small(name);
    made.scale.budget = budget;
    return made;
  }
  void use(Money budget_per_hour, std::vector<domain::Device> accelerators = {}) {
    world.use({.memory_bytes = 1000 * kMB,
               .spares = 0,
               .cores = 4,
               .accelerators = std::move(accelerators),
               .budget_per_hour = budget_per_hour});
  }
  int all_live() const {
    int count = 0;
    world.brain.each_function([&count](const FunctionView& view) {
      for (const ReplicaView& one : view.replicas)
        count += one.state != domain::State::Draining ? 1 : 0;
    });
    return count;
  }
  std::string refusal() const {
    return world.refused.empty() ? "" : world.refused.back().error.message;
  }
  std::string fault_of(const domain::Manifest& manifest) const {
    const auto may = world.brain.may_place(manifest);
    return may ? "" : may.error().code + ": " + may.error().message;
  }
};

domain::Device device(std::string type, std::uint64_t megabytes, int count = 1) {
  return {.name = type, .type = type, .memory_bytes = megabytes * kMB, .count = count};
}

// --- of one function ---

TEST_F(Budgets, Money_GrowthStopsThere_AndWhyIsToldOnce) {
  loaded(with({.per_hour = kTwoCpus}), 12);
  settle_for(50s);
  EXPECT_EQ(live(), 2);
  int times = 0;
  for (const std::string& reason : told("scale"))
    times += reason.ends_with(
        "budget: scale.budget.per_hour is 0.100000, 0.050000 are taken and each is 0.050000");
  EXPECT_EQ(times, 1);
  EXPECT_EQ(world.refused.size(), 0u);
}

TEST_F(Budgets, AMicroUnitLess_OneReplicaLess) {
  loaded(with({.per_hour = {99'999}}), 12);
  settle_for(60s);
  EXPECT_EQ(live(), 1);
}

TEST_F(Budgets, Memory_GrowthStopsThere) {
  loaded(with({.memory_bytes = 250 * kMB}), 12);
  settle_for(60s);
  EXPECT_EQ(live(), 2);
  EXPECT_THAT(told("scale"),
              Contains(HasSubstr("budget: scale.budget.memory is 250.0 MB, 100.0 MB are taken and "
                                 "each is 100.0 MB")));
}

TEST_F(Budgets, SmallerBudget_SurplusRetiresAtOnce_AndNoCallIsCut) {
  loaded(with({.per_hour = {150'000}}), 12);
  settle_for(30s);
  ASSERT_EQ(live(), 3);
  const std::size_t stopped = world.stopped.size();
  world.post(FunctionPut{with({.per_hour = kOneCpu}), 2});
  EXPECT_EQ(live(), 1);
  EXPECT_EQ(world.stopped.size(), stopped);  // all three have a call
  EXPECT_THAT(told("drain"),
              ElementsAre(HasSubstr("budget: scale.budget.per_hour is 0.050000, 0.150000 are"),
                          HasSubstr("budget: scale.budget.per_hour is 0.050000, 0.150000 are")));
  settle_for(30s);
  EXPECT_EQ(live(), 1);
}

TEST_F(Budgets, OneReplicaOutgrowsIt_AnotherGoes_TheLastStays) {
  loaded(with({.memory_bytes = 250 * kMB}), 2);
  settle_for(10s);
  ASSERT_EQ(live(), 2);
  world.post(MemoryMeasured{world.started[0].process, 300 * kMB, 300 * kMB});
  EXPECT_EQ(live(), 1);
  EXPECT_THAT(told("drain"), Contains(HasSubstr("budget: scale.budget.memory is 250.0 MB")));
}

TEST_F(Budgets, WhatIsHeld_StaysWithinIt_AndTheStatusSaysSo) {
  domain::Manifest manifest = with({.per_hour = kTwoCpus});
  manifest.scale.min = 3;
  world.deploy(manifest);
  settle_for(10s);
  EXPECT_EQ(live(), 2);
  EXPECT_THAT(world.brain.status("f")->reason,
              HasSubstr("holds 2 of 3 replicas: budget: scale.budget.per_hour is 0.100000"));
  world.post(WarmWanted{"f", 4, 60s});
  settle_for(10s);
  EXPECT_EQ(live(), 2);
}

TEST_F(Budgets, ADrainingReplica_CountsUntilItIsGone) {
  world.deploy(with({.per_hour = kOneCpu}));
  world.serve("f");
  world.post(StopWanted{"f"});
  world.call("f");
  EXPECT_EQ(world.started.size(), 1u);
  world.post(ProcessGone{world.started[0].process, "stopped", Ending::Asked});
  EXPECT_EQ(world.started.size(), 2u);
  EXPECT_THAT(told("wait"), ElementsAre(HasSubstr("budget: scale.budget.per_hour is 0.050000")));
}

TEST_F(Budgets, ANewRevision_StartsBesideTheOld_AndThenHasTheBudget) {
  world.deploy(with({.per_hour = kOneCpu}));
  calls(1);
  world.ready(0);
  domain::Manifest other = with({.per_hour = kOneCpu});
  other.context = 1024;
  world.deploy(other, 2);
  ASSERT_EQ(world.started.size(), 2u);
  world.ready(1);
  EXPECT_EQ(world.brain.function("f")->revision, 2);
  calls(3);
  settle_for(30s);
  EXPECT_EQ(world.started.size(), 2u);  // the old one answers still
}

TEST_F(Budgets, AnotherCacheDomain_GetsThePlaceOfAnIdleOne) {
  world.deploy(with({.per_hour = kOneCpu}));
  calls(1, "f", {"a", ""});
  world.ready(0);
  end(1);
  calls(1, "f", {"b", ""});
  EXPECT_THAT(told("stop"), ElementsAre(HasSubstr("scale.budget.per_hour is reached")));
  ASSERT_EQ(world.stopped.size(), 1u);
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  EXPECT_EQ(world.started.size(), 2u);
}

TEST_F(Budgets, TwoDomainsWait_OneGoesForEach_AndNoMore) {
  world.deploy(with({.per_hour = kTwoCpus}));
  for (const char* tenant : {"a", "b"}) {
    calls(1, "f", {tenant, ""});
    world.ready(world.started.size() - 1);
    end(1);
  }
  calls(1, "f", {"c", ""});
  calls(1, "f", {"d", ""});
  world.pass(1s);
  ASSERT_EQ(world.stopped.size(), 1u) << "one after the other";
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 3u);
  world.ready(2);
  EXPECT_EQ(world.stopped.size(), 2u);
  world.pass(1s);
  EXPECT_EQ(world.stopped.size(), 2u);
}

TEST_F(Budgets, ASplit_SharesOneBudget) {
  domain::Manifest first = with({.per_hour = kOneCpu}), second = first;
  second.context = 1024;
  world.post(TrafficSet{.function = "f", .served = {{first, 1, 50}, {second, 2, 50}}});
  world.post(ModelPrepared{"f", 1, {}});
  world.post(ModelPrepared{"f", 2, {}});
  calls(1);
  world.ready(0);
  end(1);
  calls(1);
  EXPECT_EQ(world.started.size(), 1u);
  ASSERT_EQ(world.stopped.size(), 1u);
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_NE(world.started[0].revision, world.started[1].revision);
}

TEST_F(Budgets, WhatIsHeldOfOneRevision_DoesNotTakeTheRoomThatWasMadeForAnothersCall) {
  domain::Manifest first = with({.per_hour = kOneCpu}), second = first;
  first.scale.min = 1;
  second.context = 1024;
  world.post(TrafficSet{.function = "f", .served = {{first, 1, 60}, {second, 2, 40}}});
  world.post(ModelPrepared{"f", 1, {}});
  world.post(ModelPrepared{"f", 2, {}});
  ASSERT_EQ(world.started.size(), 1u);
  world.ready(0);
  calls(2);  // one for each
  ASSERT_EQ(world.granted.size(), 1u);
  end(1);
  ASSERT_EQ(world.stopped.size(), 1u);
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].revision, 2);
}

TEST_F(Budgets, ASpareThatIsReservedTooMuch_IsNotHandedOver) {
  world.use({.memory_bytes = 8'000 * kMB, .template_bytes = 4'000 * kMB, .spares = 1, .cores = 4});
  domain::Manifest manifest = with({.memory_bytes = 3'000 * kMB});
  manifest.engine.kind = domain::EngineKind::Llama;
  manifest.resources = {.threads = 0};
  manifest.model = "some.gguf";
  domain::ModelFacts facts;
  facts.path = "/some.gguf";
  facts.weight_bytes = 100 * kMB;
  facts.kv_bytes_per_token = 50'000;
  world.post(FunctionPut{manifest, 1});
  world.post(ModelPrepared{"f", 1, facts});
  calls(1);
  world.ready(0);  // its template
  ASSERT_EQ(world.started.size(), 2u);
  world.ready(1);
  end(1);
  ASSERT_EQ(world.started.size(), 3u);
  world.ready(2);  // a spare
  const std::uint64_t spare = world.brain.function("f")->template_view->spares.at(0).memory_bytes;
  domain::Manifest tight = manifest;
  tight.scale.budget.memory_bytes = spare - 1;
  world.post(StopWanted{"f"});
  world.post(ProcessGone{world.started[1].process, "stopped", Ending::Asked});
  const std::string kind = policy::memory_key(policy::MemoryKind::Forked, {manifest, facts}, 0);
  world.post(MemoryKnown{kind, 20 * kMB, 20 * kMB});  // the next one is reserved less
  world.post(FunctionPut{tight, 2});
  calls(1);
  EXPECT_TRUE(world.assigned.empty());
  EXPECT_TRUE(world.refused.empty());
  EXPECT_EQ(world.started.size(), 4u);
}

TEST_F(Budgets, TooSmallForOne_IsRefusedAtOnce) {
  world.deploy(with({.memory_bytes = 50 * kMB}));
  world.call("f");
  EXPECT_EQ(refusal(),
            "one replica of `f` reserves 100.0 MB, and scale.budget.memory is 50.0 MB; raise it, "
            "or lower context or slots");
  EXPECT_EQ(world.refused.back().error.code, domain::error::kDoesNotFit);
  world.deploy(with({.per_hour = {49'999}}, "g"));
  for (int i = 0; i < 2; ++i, world.pass(10s)) {
    world.call("g");
    EXPECT_EQ(refusal(),
              "one replica of `g` costs 0.050000 an hour on CPU, and scale.budget.per_hour is "
              "0.049999; raise it, or choose a cheaper device (resources.device)");
  }
  EXPECT_EQ(world.refused.size(), 3u);
  EXPECT_TRUE(world.started.empty());
}

TEST_F(Budgets, Deploy_IsRefusedWhereItIsKnown) {
  EXPECT_EQ(fault_of(with({.per_hour = kOneCpu})), "");
  EXPECT_THAT(fault_of(with({.per_hour = {49'999}})),
              HasSubstr("does_not_fit: one replica of `f`"));
  EXPECT_THAT(fault_of(with({.memory_bytes = 99 * kMB})),
              HasSubstr("does_not_fit: one replica of `f` reserves 100.0 MB"));
  use({}, {device("H100", 80'000), device("A10G", 24'000)});
  domain::Manifest manifest = with({.per_hour = {500'000}});
  EXPECT_THAT(fault_of(manifest),
              HasSubstr("costs 1.000000 an hour on A10G, and scale.budget.per_hour is 0.500000"));
  manifest.resources.device = "H100";
  EXPECT_THAT(fault_of(manifest),
              HasSubstr("unsupported_value: `f` is to run on H100, which has no price, and "
                        "scale.budget.per_hour is 0.500000; add one to the server's settings, as "
                        "prices: {H100: {per_hour: 1, per_request: 0}}"));
  manifest.scale.budget = {};
  EXPECT_EQ(fault_of(manifest), "");
  manifest.engine.kind = domain::EngineKind::Llama;  // of a size that is not known yet
  manifest.model = "some.gguf";
  manifest.resources = {.device = "A10G"};
  manifest.scale.budget.per_hour = {999'999};
  EXPECT_THAT(fault_of(manifest), HasSubstr("costs 1.000000 an hour on A10G"));
  manifest.resources.device = "auto";
  EXPECT_EQ(fault_of(manifest), "");  // it may turn out to be for the CPU
}

TEST_F(Budgets, ACheaperDeviceIsTaken_WhereTheUsualOneIsTooDear) {
  use({}, {device("A100", 80'000), device("T4", 16'000), device("H100", 16'000)});
  domain::Manifest manifest = with({.per_hour = {1'000'000}});
  manifest.resources.memory_bytes = 10'000 * kMB;  // an A10G's, and then the smallest that fits
  manifest.resources.device = "gpu";
  use({}, {device("A10G", 24'000), device("T4", 16'000), device("H100", 12'000)});
  manifest.scale.budget.per_hour = {999'999};
  world.deploy(manifest);
  world.call("f");
  ASSERT_EQ(world.started.size(), 1u);
  EXPECT_THAT(world.brain.function("f")->replicas.at(0).devices, ElementsAre("T4:0"));
}

// --- of all ---

TEST_F(Budgets, All_GrowthStopsThere) {
  use({150'000});
  loaded(with({}), 12);
  settle_for(60s);
  EXPECT_EQ(live(), 3);
  EXPECT_THAT(told("scale"),
              Contains(HasSubstr("budget: budget_per_hour is 0.150000, 0.050000 are taken")));
}

TEST_F(Budgets, All_AnIdleOneOfAnotherStopsForAFirstReplica) {
  use(kTwoCpus);
  for (const char* name : {"a", "b", "c"}) world.deploy(small(name));
  world.serve("a");
  world.pass(1s);
  world.serve("b");
  world.serve("b");  // it is worth more
  world.call("c");
  EXPECT_EQ(world.started.size(), 2u);
  ASSERT_EQ(world.stopped.size(), 1u);
  EXPECT_EQ(world.stopped[0], world.started[0].process);
  EXPECT_THAT(told("stop"), ElementsAre(HasSubstr("evicted: budget: 0.050000 of budget_per_hour "
                                                  "needed by c; idle, it saves")));
  EXPECT_THAT(told("wait"), ElementsAre(HasSubstr("budget: budget_per_hour is 0.100000")));
  world.post(ProcessGone{world.stopped[0], "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 3u);
  EXPECT_EQ(world.started[2].manifest.name, "c");
  EXPECT_EQ(world.stopped.size(), 1u);
}

TEST_F(Budgets, All_NothingIdle_TheCallWaits_AndABusyOneGivesWay) {
  use(kOneCpu);
  world.deploy(small("a"));
  world.deploy(small("b"));
  const domain::CallId first = world.call("a");
  world.ready(0);
  world.call("b");
  world.pass(1s);
  EXPECT_EQ(all_live(), 1);
  world.pass(9s);
  EXPECT_THAT(told("drain"), ElementsAre(HasSubstr("for its part of budget_per_hour")));
  world.call("a");
  world.post(CallEnded{first});
  world.post(ProcessGone{world.started[0].process, "stopped", Ending::Asked});
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(world.started[1].manifest.name, "b");
}

TEST_F(Budgets, All_TheWaitIsBoundedByTheQueueTimeout) {
  use(kOneCpu);
  domain::Manifest waits = small("b");
  waits.limits.queue_timeout = 1500ms;
  world.deploy(small("a"));
  world.deploy(waits);
  world.call("a");
  world.ready(0);
  world.call("b");
  world.pass(2s);
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, domain::error::kServerIsOverloaded);
}

TEST_F(Budgets, All_TooSmallForOne_IsRefusedAtOnce) {
  use({40'000});
  world.deploy(small());
  world.call("f");
  EXPECT_EQ(refusal(),
            "one replica of `f` costs 0.050000 an hour on CPU, and the server's budget_per_hour is "
            "0.040000; raise that (serve --budget-per-hour), or choose a cheaper device "
            "(resources.device)");
  EXPECT_THAT(fault_of(small("g")), HasSubstr("does_not_fit: one replica of `g` costs 0.050000"));
}

TEST_F(Budgets, All_NothingStopsForWhatIsHeld) {
  use(kOneCpu);
  world.deploy(small("a"));
  world.serve("a");
  domain::Manifest held = small("b");
  held.scale.min = 1;
  world.deploy(held);
  world.pass(5s);
  EXPECT_TRUE(world.stopped.empty());
  EXPECT_EQ(world.started.size(), 1u);
  EXPECT_THAT(world.brain.status("b")->reason, HasSubstr("holds 0 of 1 replicas: budget: "));
}

TEST_F(Budgets, All_ReplicasOnDevicesCostWhatTheseCost) {
  use({3'500'000}, {device("A100", 80'000, 2)});
  domain::Manifest large = world.manifest("large", 1'000);
  large.resources.device = "A100";
  world.use({.memory_bytes = 200'000 * kMB,
             .spares = 0,
             .cores = 4,
             .accelerators = {device("A100", 80'000, 2)},
             .budget_per_hour = {3'500'000}});
  world.deploy(large);
  domain::Manifest other = large;
  other.name = "other";
  world.deploy(other);
  domain::Manifest small_one = small("small");
  small_one.resources.device = "cpu";
  world.deploy(small_one);
  world.serve("large");
  world.serve("small");
  EXPECT_EQ(all_live(), 2);
  world.call("other");
  EXPECT_THAT(told("stop"), ElementsAre(HasSubstr("evicted: budget: 2.550000")));
}

}  // namespace
}  // namespace glowplug::control
