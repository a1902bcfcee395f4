#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/test_world.h"
#include "policy/admission.h"
#include "policy/memory_ledger.h"

namespace glowplug::control {
namespace {

using domain::State;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kMiB = 1024 * 1024;

class MeasuredMemory : public ::testing::Test {
 protected:
  // A built-in model of 100 MiB with 1 KiB of KV per token: 1024 × 2 tokens, 2 MiB of context.
  static domain::Manifest manifest(const std::string& name, domain::TemplateUse use) {
    domain::Manifest made = World().manifest(name, 0);
    made.engine.kind = domain::EngineKind::Llama;
    made.template_use = use;
    made.context = 1024;
    made.slots = 2;
    made.keep_alive = 10s;
    return made;
  }
  void deploy(const std::string& name, domain::TemplateUse use, World& in, int revision = 1) {
    deploy(manifest(name, use), in, revision);
  }
  void deploy(const domain::Manifest& made, World& in, int revision = 1) {
    in.post(FunctionPut{made, revision});
    in.post(ModelPrepared{made.name,
                          revision,
                          {.path = "/m",
                           .sha256 = "abc",
                           .file_bytes = 100 * kMiB,
                           .weight_bytes = 100 * kMiB,
                           .kv_bytes_per_token = 1024}});
  }
  static constexpr std::uint64_t kExec = (100 + 2 + 96) * kMiB;
  static constexpr std::uint64_t kForked = (2 + 32) * kMiB;
  static constexpr std::uint64_t kTemplate = (100 + 96) * kMiB;

  static void measure(World& in, std::size_t index, std::uint64_t own_mib,
                      std::uint64_t mapped_mib) {
    in.post(MemoryMeasured{in.started.at(index).process, own_mib * kMiB, mapped_mib * kMiB});
  }
  static void work(World& in, const std::string& name) {
    const domain::CallId id = in.call(name);
    in.post(CallEnded{id});
  }
  static std::uint64_t reserved(const World& in, const std::string& name) {
    return in.brain.function(name)->replicas.at(0).memory_bytes;
  }
  // Eight workings of the first replica, each of them measured.
  static void learn(World& in, const std::string& name, std::size_t index, std::uint64_t own_mib,
                    std::uint64_t mapped_mib) {
    for (int i = 0; i < policy::kSamples; ++i) {
      work(in, name);
      measure(in, index, own_mib, mapped_mib);
    }
  }
  static std::string reason(const World& in, const std::string& decision) {
    std::string last;
    for (const Decision& one : in.decisions)
      if (one.decision == decision) last = one.reason;
    return last;
  }
  void to_zero(World& in, std::size_t index) {
    in.pass(11s);
    in.post(ProcessGone{in.started.at(index).process, "stopped", Ending::Asked});
  }

  World world{1000};
};

TEST_F(MeasuredMemory, ExecutedReplica_IsCountedWithTheModelItMaps) {
  deploy("f", domain::TemplateUse::Off, world);
  world.serve("f");
  EXPECT_EQ(reserved(world, "f"), kExec);
  measure(world, 0, 10, 120);
  EXPECT_EQ(reserved(world, "f"), kExec);  // nothing is lowered on one measurement
  learn(world, "f", 0, 10, 130);
  // In steps, upwards; its context beside it.
  EXPECT_EQ(reserved(world, "f"), (132 + 2 + 8) * kMiB);
  ASSERT_EQ(world.learned.size(), 1u);
  EXPECT_EQ(world.learned[0].peak_bytes, 132 * kMiB);
}

TEST_F(MeasuredMemory, NextStart_ReservesWhatWasLearnedAndKeepsTheKernelsLimit) {
  deploy("f", domain::TemplateUse::Off, world);
  world.serve("f");
  learn(world, "f", 0, 10, 120);
  to_zero(world, 0);
  world.call("f");
  ASSERT_EQ(world.started.size(), 2u);
  EXPECT_EQ(reserved(world, "f"), (120 + 2 + 8) * kMiB);
  EXPECT_EQ(world.started[1].limits, world.started[0].limits);
  EXPECT_GT(*world.started[1].limits.memory_bytes, kExec);
}

TEST_F(MeasuredMemory, LearnedToBeMore_WidensTheLimitToo) {
  deploy("f", domain::TemplateUse::Off, world);
  world.serve("f");
  measure(world, 0, 10, 400);
  to_zero(world, 0);
  world.call("f");
  EXPECT_EQ(reserved(world, "f"), (400 + 2 + 20) * kMiB);
  EXPECT_GT(*world.started[1].limits.memory_bytes, *world.started[0].limits.memory_bytes);
}

TEST_F(MeasuredMemory, OtherFunctionOfTheSameModel_ProfitsFromIt) {
  deploy("f", domain::TemplateUse::Off, world);
  deploy("g", domain::TemplateUse::Off, world);
  world.serve("f");
  learn(world, "f", 0, 10, 120);
  world.call("g");
  EXPECT_EQ(reserved(world, "g"), (120 + 2 + 8) * kMiB);
}

TEST_F(MeasuredMemory, FewMeasurementsWithoutWork_LearnNothing) {
  deploy("f", domain::TemplateUse::Off, world);
  world.serve("f");
  for (int i = 0; i < 3 * policy::kSamples; ++i) measure(world, 0, 10, 120);
  EXPECT_EQ(reserved(world, "f"), kExec);
  EXPECT_THAT(world.learned, IsEmpty());
}

TEST_F(MeasuredMemory, ForkedReplica_CountsItsOwnAndTheTemplateTheRest) {
  World in{1000, 400};
  deploy("f", domain::TemplateUse::On, in);
  in.call("f");
  EXPECT_GE(in.brain.reserved_bytes(), kTemplate + kForked);  // while it loads
  in.ready(0);
  in.ready(1);
  in.post(CallEnded{domain::CallId{1}});
  EXPECT_EQ(in.brain.reserved_bytes(), kTemplate + kForked);
  measure(in, 0, 3, 118);
  EXPECT_EQ(in.brain.function("f")->template_view->memory_bytes, 118 * kMiB + policy::kStillMargin);
  learn(in, "f", 1, 6, 124);
  EXPECT_EQ(reserved(in, "f"), (6 + 2 + 8) * kMiB);
  EXPECT_EQ(in.brain.reserved_bytes(), (118 + 6 + 2 + 8) * kMiB + policy::kStillMargin);
}

// Of each life: one call, and no time to be measured.
class ShortLives : public MeasuredMemory {
 protected:
  ShortLives() {
    deploy("f", domain::TemplateUse::On, in);
    in.call("f");
    in.ready(0);
  }
  void live(std::optional<std::uint64_t> most_mib) {
    const std::size_t index = in.started.size() - 1;
    in.ready(index);
    in.post(CallEnded{domain::CallId{lives_ + 1}});
    std::optional<std::uint64_t> most_bytes;
    if (most_mib) most_bytes = *most_mib * kMiB;
    in.pass(11s);
    in.post(ProcessGone{in.started[index].process, "stopped", Ending::Asked, most_bytes});
    ++lives_;
    in.call("f");
  }

  World in{1000, 400};
  std::uint64_t lives_ = 0;
};

TEST_F(ShortLives, AreLearnedOfByTheMostThatEachHeld) {
  for (int i = 1; i < policy::kSamples; ++i) live(6);
  EXPECT_EQ(reserved(in, "f"), kForked);
  live(4);
  EXPECT_EQ(reserved(in, "f"), (6 + 2 + 8) * kMiB);
}

TEST_F(ShortLives, WhereTheMachineDoesNotSay_NothingIsLearned) {
  for (int i = 0; i < 2 * policy::kSamples; ++i) live(std::nullopt);
  EXPECT_EQ(reserved(in, "f"), kForked);
}

TEST_F(MeasuredMemory, MeasuredReplica_IsNotJudgedAgainAtItsEnd) {
  World in{1000, 400};
  deploy("f", domain::TemplateUse::On, in);
  in.call("f");
  in.ready(0);
  in.ready(1);
  in.post(CallEnded{domain::CallId{1}});
  measure(in, 0, 3, 118);
  learn(in, "f", 1, 6, 124);
  in.pass(11s);
  in.post(ProcessGone{in.started[1].process, "stopped", Ending::Asked, 300 * kMiB});
  in.call("f");
  EXPECT_EQ(reserved(in, "f"), (6 + 2 + 8) * kMiB);
}

TEST_F(MeasuredMemory, TemplateThatLoads_IsNotLowered) {
  World in{1000, 400};
  deploy("f", domain::TemplateUse::On, in);
  in.call("f");
  const std::uint64_t loading = in.brain.reserved_bytes();
  measure(in, 0, 3, 50);
  EXPECT_EQ(in.brain.reserved_bytes(), loading);
}

TEST_F(MeasuredMemory, ReloadedTemplate_IsReservedWhatItHeldAndKeepsTheKernelsLimit) {
  World in{1000, 400};
  deploy("f", domain::TemplateUse::On, in);
  in.call("f");
  EXPECT_EQ(in.brain.reserved_bytes(), kTemplate + kForked);
  in.ready(0);
  in.ready(1);
  measure(in, 0, 3, 118);
  in.post(CallEnded{domain::CallId{1}});
  in.post(ProcessGone{in.started[1].process, "killed", Ending::Killed});
  in.post(ProcessGone{in.started[0].process, "killed", Ending::Killed});
  in.call("f");
  ASSERT_EQ(in.started.back().role, Role::Template);
  EXPECT_EQ(in.brain.reserved_bytes(), 118 * kMiB + policy::kStillMargin + kForked);
  EXPECT_EQ(in.started.back().limits, in.started[0].limits);
  in.ready(in.started.size() - 1);
  EXPECT_EQ(in.brain.function("f")->template_view->memory_bytes, 118 * kMiB + policy::kStillMargin);
}

TEST_F(MeasuredMemory, Spare_IsMeasuredAndTakenWithItsReservation) {
  World in{1000, 400, 1};
  deploy("f", domain::TemplateUse::On, in);
  in.call("f");
  in.ready(0);
  in.ready(1);
  in.post(CallEnded{domain::CallId{1}});
  ASSERT_TRUE(in.started.at(2).ahead);
  in.ready(2);
  measure(in, 2, 100, 220);
  EXPECT_EQ(in.brain.function("f")->template_view->spares.at(0).memory_bytes, (100 + 2 + 8) * kMiB);
  EXPECT_THAT(reason(in, "grown"), HasSubstr("replica 3 holds 104.9 MB: 115.3 MB reserved"));
  to_zero(in, 1);
  in.call("f");
  EXPECT_EQ(reserved(in, "f"), (100 + 2 + 8) * kMiB);
}

TEST_F(MeasuredMemory, OwnersFigure_IsNeverLowered) {
  world.deploy(world.manifest("f", 100));
  world.serve("f");
  learn(world, "f", 0, 5, 5);
  EXPECT_EQ(reserved(world, "f"), 100 * kMB);
  measure(world, 0, 5, 95);
  EXPECT_EQ(reserved(world, "f"), 100 * kMB);
  measure(world, 0, 5, 200);
  EXPECT_EQ(reserved(world, "f"), 210 * kMiB);
}

TEST_F(MeasuredMemory, MoreThanReserved_IsRaisedAtOnceAndIdleOnesMakeRoom) {
  World in{500};
  deploy("big", domain::TemplateUse::Off, in);
  in.deploy(in.manifest("idle", 100));
  in.serve("idle");
  in.call("big");
  in.ready(1);
  measure(in, 1, 10, 400);
  EXPECT_EQ(reserved(in, "big"), (400 + 2 + 20) * kMiB);
  EXPECT_EQ(in.stopped, std::vector{in.started[0].process});
  EXPECT_THAT(reason(in, "over-committed"),
              HasSubstr("542.5 MB reserved of 500.0 MB: 42.5 MB of what is idle"));
  EXPECT_THAT(reason(in, "stop"), HasSubstr("needed by big"));
  measure(in, 1, 10, 400);  // said and done once
  EXPECT_EQ(in.stopped.size(), 1u);
  in.post(ProcessGone{in.started[0].process, "stopped", Ending::Asked});
  EXPECT_LE(in.brain.reserved_bytes(), 500 * kMB);
}

TEST_F(MeasuredMemory, OverCommitted_NothingStartsAndWhatBecomesIdleGoes) {
  World in{500};
  deploy("big", domain::TemplateUse::Off, in);
  in.deploy(in.manifest("busy", 100));
  const domain::CallId busy = in.call("busy");
  in.ready(0);
  const domain::CallId call = in.call("big");
  in.ready(1);
  measure(in, 1, 10, 400);
  EXPECT_THAT(in.stopped, IsEmpty());  // both have calls in flight
  in.deploy(in.manifest("other", 1));
  in.call("other");
  EXPECT_EQ(in.started.size(), 2u);
  in.post(CallEnded{busy});
  EXPECT_EQ(in.stopped, std::vector{in.started[0].process});
  EXPECT_EQ(in.state("big"), State::Ready);
  in.post(CallEnded{call});
}

TEST_F(MeasuredMemory, GoneTemplate_ItsMemoryIsCountedUntilTheLastForkIsGone) {
  World in{1000, 400};
  deploy("f", domain::TemplateUse::On, in);
  deploy("g", domain::TemplateUse::On, in);
  in.call("f");
  in.ready(0);
  in.ready(1);
  in.call("g");
  in.ready(2);
  const std::uint64_t all = in.brain.reserved_bytes();
  in.post(ProcessGone{in.started[0].process, "killed by signal 9", Ending::Killed});
  EXPECT_EQ(in.brain.reserved_bytes(), all);
  EXPECT_EQ(reserved(in, "f"), kForked + kTemplate);
  measure(in, 1, 20, 130);  // an heir is not lowered
  measure(in, 2, 5, 130);
  EXPECT_EQ(in.brain.reserved_bytes(), all);
  in.post(ProcessGone{in.started[1].process, "killed by signal 9", Ending::Killed});
  EXPECT_EQ(reserved(in, "g"), kForked + kTemplate);
  measure(in, 2, 300, 300);  // but raised
  EXPECT_EQ(reserved(in, "g"), 315 * kMiB);
  in.post(ProcessGone{in.started[2].process, "killed by signal 9", Ending::Killed});
  EXPECT_EQ(in.brain.reserved_bytes(), 0u);
}

TEST_F(MeasuredMemory, TemplateThatGoes_TeachesNothingOfItsForks) {
  World in{1000, 400};
  deploy("f", domain::TemplateUse::On, in);
  const domain::CallId call = in.call("f");
  in.ready(0);
  in.ready(1);
  const std::uint64_t all = in.brain.reserved_bytes();
  in.post(FunctionDeleted{"f"});  // the template is killed, the call goes on
  EXPECT_EQ(in.killed, std::vector{in.started[0].process});
  measure(in, 1, 130, 130);  // the pages that only it maps any more
  EXPECT_EQ(in.brain.reserved_bytes(), all);
  EXPECT_THAT(in.learned, IsEmpty());
  in.post(CallEnded{call});
}

TEST_F(MeasuredMemory, DeclaredFigureThatIsRefuted_SaysNothingOfOthers) {
  deploy("f", domain::TemplateUse::Off, world);
  domain::Manifest declared = manifest("g", domain::TemplateUse::Off);
  declared.resources.memory_bytes = 10 * kMB;
  deploy(declared, world);
  world.serve("g");
  measure(world, 0, 10, 110);
  EXPECT_EQ(reserved(world, "g"), 118 * kMiB);
  world.call("f");
  EXPECT_EQ(reserved(world, "f"), kExec);
}

// A replica whose revision has gone answers on for long; what it holds is no help to anybody.
TEST_F(MeasuredMemory, BusyReplicaThatDrains_DoesNotKeepIdleOnesFromMakingRoom) {
  World in{500};
  in.deploy(in.manifest("f", 250));
  in.deploy(in.manifest("c", 200));
  in.serve("c");
  const domain::CallId stream = in.call("f");
  in.ready(1);
  in.post(FunctionDeleted{"f"});
  in.deploy(in.manifest("g", 220));
  in.call("g");
  EXPECT_EQ(in.stopped, std::vector{in.started[0].process});
  in.post(ProcessGone{in.started[0].process, "stopped", Ending::Asked});
  EXPECT_EQ(in.started.size(), 3u);
  in.post(CallEnded{stream});
}

// A base template, a primed one from it, and a replica from that, with its call in flight.
class PrimedMemory : public MeasuredMemory {
 protected:
  PrimedMemory() {
    domain::Manifest made = manifest("f", domain::TemplateUse::On);
    made.prime = {"You help."};
    deploy(made, in);
    in.call("f");
    in.ready(0);
    in.ready(1);
    in.post(CallEnded{domain::CallId{1}});
    EXPECT_EQ(in.started.size(), 3u);
    in.ready(2);
    in.post(StopWanted{"f"});
    in.post(ProcessGone{id(1), "stopped", Ending::Asked});
    call_ = in.call("f");
    in.ready(3);
    EXPECT_EQ(in.started.at(3).from, id(2));
    EXPECT_GT(in.brain.reserved_bytes(), kTemplate + kForked);
  }
  domain::ProcessId id(std::size_t start) const { return in.started.at(start).process; }
  void gone(std::size_t start) {
    in.post(ProcessGone{id(start), "killed by signal 9", Ending::Killed});
  }

  World in{1000, 400};
  domain::CallId call_;
};

TEST_F(PrimedMemory, BaseGoes_ThePrimedOneCountsItOnceHoweverItIsMeasured) {
  const std::uint64_t all = in.brain.reserved_bytes();
  gone(0);
  EXPECT_EQ(in.brain.reserved_bytes(), all);
  measure(in, 2, 125, 126);  // the base's pages are its own now
  EXPECT_EQ(in.brain.reserved_bytes(), all);
  gone(2);
  EXPECT_EQ(in.brain.reserved_bytes(), all);
  gone(3);
  EXPECT_EQ(in.brain.reserved_bytes(), 0u);
}

TEST_F(PrimedMemory, PrimedOneGoes_ItsForkDoesNotCountTheBaseThatIsThere) {
  const std::uint64_t all = in.brain.reserved_bytes();
  gone(2);
  measure(in, 3, 6, 130);
  EXPECT_EQ(in.brain.reserved_bytes(), all);
}

TEST_F(PrimedMemory, PrimedOneGoesBeforeItsBase_TheForkCountsBoth) {
  const std::uint64_t all = in.brain.reserved_bytes();
  gone(2);
  gone(0);
  EXPECT_EQ(in.brain.reserved_bytes(), all);
}

TEST_F(PrimedMemory, RoomIsNeeded_BaseIsNotDroppedUnderABusyFork) {
  in.deploy(in.manifest("h", 800));
  in.call("h");
  EXPECT_THAT(in.killed, IsEmpty());
  in.post(CallEnded{call_});
  EXPECT_THAT(in.stopped, Contains(id(3)));
  EXPECT_EQ(in.killed, (std::vector{id(2), id(0)}));
  for (const std::size_t start : {3, 2, 0}) gone(start);
  EXPECT_EQ(in.started.back().manifest.name, "h");
}

TEST_F(MeasuredMemory, WhatAnEarlierServerLearned_IsReservedFromTheFirstStartOn) {
  deploy("f", domain::TemplateUse::Off, world);
  world.serve("f");
  learn(world, "f", 0, 10, 120);
  World next{1000};
  for (const MemoryLearned& one : world.learned)
    next.post(MemoryKnown{one.key, one.first_bytes, one.peak_bytes});
  deploy("f", domain::TemplateUse::Off, next);
  next.call("f");
  EXPECT_EQ(reserved(next, "f"), (120 + 2 + 8) * kMiB);
  EXPECT_THAT(reason(world, "learned"), HasSubstr("its kind holds up to 125.8 MB"));
}

TEST_F(MeasuredMemory, LearnedToNeedMoreThanThereIs_IsRefusedWithTheNumbers) {
  deploy("f", domain::TemplateUse::Off, world);
  world.serve("f");
  measure(world, 0, 10, 990);
  to_zero(world, 0);
  world.call("f");
  ASSERT_EQ(world.refused.size(), 1u);
  EXPECT_EQ(world.refused[0].error.code, "does_not_fit");
}

TEST_F(MeasuredMemory, UnknownProcess_IsNoHarm) {
  world.post(MemoryMeasured{{77}, 1, 2});
  EXPECT_EQ(world.brain.reserved_bytes(), 0u);
}

}  // namespace
}  // namespace glowplug::control
