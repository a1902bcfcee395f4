#include "policy/memory_ledger.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/units.h"
#include "policy/admission.h"

namespace glowplug::policy {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr MemoryNeed kNeed{.estimate = 300 * kMiB, .context = 200 * kMiB};

MemoryHistory known(std::uint64_t first, std::uint64_t peak) {
  return {.learned = {.first = first * kMiB, .peak = peak * kMiB}, .known = true};
}
MemorySeen seen(std::uint64_t first, std::uint64_t peak) {
  return {.first = first * kMiB, .peak = peak * kMiB};
}

TEST(MemoryLedger, NothingMeasured_IsReservedByEstimate) {
  EXPECT_EQ(reservation(kNeed, {}), 300 * kMiB);
}

TEST(MemoryLedger, UnusedContext_StaysReservedWhateverIsMeasured) {
  EXPECT_EQ(corrected(kNeed, seen(5, 5), {}), 300 * kMiB);  // nothing learned: not less
  EXPECT_EQ(corrected(kNeed, seen(5, 5), known(5, 20)), (20 + 200 + 8) * kMiB);
  EXPECT_EQ(corrected(kNeed, seen(5, 60), known(5, 20)), (60 + 200 + 8) * kMiB);
  EXPECT_EQ(corrected(kNeed, seen(5, 200), known(5, 20)), 300 * kMiB);  // never above the estimate
}

TEST(MemoryLedger, FixedPartAboveTheEstimate_RaisesAtOnceWithItsWholeContext) {
  EXPECT_EQ(corrected(kNeed, seen(150, 150), {}), (150 + 200 + 8) * kMiB);
  MemoryHistory history;
  EXPECT_EQ(learn(history, kNeed, seen(150, 150)), Learned::More);
  EXPECT_EQ(reservation(kNeed, history), (150 + 200 + 8) * kMiB);
}

TEST(MemoryLedger, PeakAboveTheEstimate_IsReservedWithAMargin) {
  EXPECT_EQ(corrected(kNeed, seen(5, 400), {}), (400 + 20) * kMiB);
  EXPECT_EQ(corrected(kNeed, seen(5, 299), {}), 299 * kMiB + 299 * kMiB / 20);
}

TEST(MemoryLedger, FirstLookBesideACall_IsCorrectedByAnEarlierOneOfItsKind) {
  EXPECT_EQ(corrected(kNeed, seen(150, 150), known(10, 90)), 300 * kMiB);
}

TEST(MemoryLedger, DeclaredFigure_IsRaisedAndNeverLowered) {
  const MemoryNeed declared{.estimate = 300 * kMiB, .lowering = Lowering::Never};
  EXPECT_EQ(corrected(declared, seen(5, 5), known(5, 5)), 300 * kMiB);
  EXPECT_EQ(corrected(declared, seen(5, 295), {}), 300 * kMiB);
  EXPECT_EQ(corrected(declared, seen(5, 400), {}), 420 * kMiB);
}

TEST(MemoryLedger, Lowered_OnlyOnceEnoughWorkingsAgree) {
  MemoryHistory history;
  for (int i = 1; i < kSamples; ++i)
    EXPECT_EQ(learn(history, kNeed, seen(5, 10)), Learned::Nothing);
  EXPECT_EQ(reservation(kNeed, history), 300 * kMiB);
  EXPECT_EQ(learn(history, kNeed, seen(5, 12)), Learned::Less);
  EXPECT_EQ(reservation(kNeed, history), (12 + 200 + 8) * kMiB);
}

TEST(MemoryLedger, Learned_RisesAtOnceAndFallsSlowly) {
  MemoryHistory history = known(5, 20);
  EXPECT_EQ(learn(history, kNeed, seen(6, 40)), Learned::More);
  EXPECT_EQ(history.learned, seen(5, 40));
  for (int i = 1; i < kSamples; ++i)
    EXPECT_EQ(learn(history, kNeed, seen(6, 10)), Learned::Nothing);
  EXPECT_EQ(learn(history, kNeed, seen(6, 11)), Learned::Less);
  EXPECT_EQ(history.learned, seen(6, 11));
  for (int i = 0; i < kSamples; ++i)
    EXPECT_EQ(learn(history, kNeed, seen(6, 11)), Learned::Nothing);
}

TEST(MemoryLedger, RiseInBetween_StartsTheCountAnew) {
  MemoryHistory history = known(5, 20);
  for (int i = 1; i < kSamples; ++i) learn(history, kNeed, seen(5, 10));
  EXPECT_EQ(learn(history, kNeed, seen(5, 21)), Learned::More);
  for (int i = 1; i < kSamples; ++i)
    EXPECT_EQ(learn(history, kNeed, seen(5, 10)), Learned::Nothing);
}

TEST(MemoryLedger, SlowGrowth_IsNewsInSteps) {
  MemoryHistory history = known(5, 64);
  int news = 0;
  for (std::uint64_t kib = 0; kib < 8 * 1024; kib += 64)
    news += learn(history, kNeed, {5 * kMiB, 64 * kMiB + kib * 1024}) == Learned::More;
  EXPECT_EQ(news, 4);
  EXPECT_GE(history.learned.peak, 64 * kMiB + 8 * 1024 * 1024 - 64 * 1024);
}

TEST(MemoryLedger, WhatDoesNoWork_IsLearnedAtTheFirstLook) {
  constexpr MemoryNeed kTemplate{.estimate = 200 * kMiB};
  MemoryHistory history;
  EXPECT_EQ(learn(history, kTemplate, seen(120, 120), 1), Learned::Less);
  EXPECT_EQ(learn(history, kTemplate, seen(120, 120), 1), Learned::Nothing);
  EXPECT_EQ(reservation(kTemplate, history), (120 + 8) * kMiB);
}

TEST(MemoryLedger, WhatDoesNothingOnceItIsReady_HasLittleRoomAbove) {
  MemoryHistory history;
  const MemoryNeed still{.estimate = 200 * kMiB, .is_still = true};
  learn(history, still, seen(120, 120), 1);
  EXPECT_EQ(reservation(still, history), 120 * kMiB + kStillMargin);
  EXPECT_EQ(corrected(still, seen(131, 131), history), 131 * kMiB + kStillMargin);
  EXPECT_EQ(reservation(still, {}), 200 * kMiB);
}

TEST(MemoryNeed, AReplicaHasContextLeftToTake) {
  domain::Manifest manifest;
  const domain::ModelFacts facts{.path = "/m", .kv_bytes_per_token = 1024};
  const TemplateSource source{manifest, facts};
  EXPECT_EQ(forked_need(source).context, estimate_cache_bytes(manifest, facts));
  EXPECT_EQ(replica_need(source).context, estimate_cache_bytes(manifest, facts));
  EXPECT_EQ(template_need(source).context, 0u);
  EXPECT_TRUE(template_need(source).is_still);
  EXPECT_FALSE(forked_need(source).is_still);
  EXPECT_EQ(primed_need(source).lowering, Lowering::Never);
  manifest.resources.memory_bytes = 500 * kMiB;
  EXPECT_EQ(forked_need(source).context, 0u);  // the owner's figure holds it all
  EXPECT_EQ(replica_need(source), (MemoryNeed{500 * kMiB, 0, Lowering::Never}));
  manifest.resources.memory_bytes = 0;
  manifest.engine.kind = domain::EngineKind::Process;
  EXPECT_EQ(replica_need(source).lowering, Lowering::Never);
}

TEST(MemoryKey, TellsApartWhatTakesMoreOrLess) {
  domain::Manifest manifest;
  manifest.name = "a";
  domain::ModelFacts facts{.path = "/m", .sha256 = "abc"};
  const auto key = [&](MemoryKind kind = MemoryKind::Forked, int revision = 1) {
    return memory_key(kind, {manifest, facts}, revision);
  };
  const std::string plain = key();
  EXPECT_NE(key(MemoryKind::Replica), plain);
  EXPECT_EQ(key(MemoryKind::Forked, 2), plain);  // as long as nothing else differs
  manifest.name = "b";
  manifest.keep_alive = kForever;
  EXPECT_EQ(key(), plain);
  manifest.slots = 2;
  EXPECT_NE(key(), plain);
  manifest.slots = 4;
  manifest.tuning.kv = domain::KvType::Q8_0;
  EXPECT_NE(key(), plain);
  manifest.engine.kind = domain::EngineKind::Process;
  EXPECT_NE(key(MemoryKind::Replica, 2), key(MemoryKind::Replica, 1));
}

// --- the promise ---

// One of a kind with a fixed part that nobody knows; it uses its context as it likes.
struct Process {
  std::size_t kind = 0;
  std::uint64_t fixed = 0, context = 0, reserved = 0;
  MemorySeen seen;
  bool worked = false;
  std::uint64_t holds() const { return fixed + context; }
};
struct Kind {
  MemoryNeed need;
  std::uint64_t fixed_first = 0, fixed_worked = 0;  // a little less, now and then
  MemoryHistory history;
};

class Machine {
 public:
  explicit Machine(unsigned seed) : chance_(seed) {
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t context = up_to(200) * kMiB, fixed = (20 + up_to(80)) * kMiB;
      kinds_.push_back({.need = {.estimate = context + fixed, .context = context},
                        .fixed_first = fixed / (2 + up_to(3)),
                        .fixed_worked = fixed / (1 + up_to(3))});
      kinds_.back().fixed_first = std::min(kinds_.back().fixed_first, kinds_.back().fixed_worked);
    }
  }
  void step() {
    switch (up_to(6)) {
      case 0: return start();
      case 1: return stop();
      case 2: return measure();
      default: return work();
    }
  }
  std::uint64_t held() const {
    std::uint64_t sum = 0;
    for (const Process& one : processes_) sum += one.holds();
    return sum;
  }
  std::uint64_t reserved() const {
    std::uint64_t sum = 0;
    for (const Process& one : processes_) sum += one.reserved;
    return sum;
  }
  static constexpr std::uint64_t kBudget = 1500 * kMiB;
  std::uint64_t started_below_estimate = 0;

 private:
  std::uint64_t up_to(std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(0, most)(chance_);
  }
  void start() {
    const std::size_t kind = up_to(kinds_.size() - 1);
    const Kind& of = kinds_[kind];
    const std::uint64_t bytes = reservation(of.need, of.history);
    if (reserved() + bytes > kBudget) return;
    started_below_estimate += bytes < of.need.estimate;
    processes_.push_back({.kind = kind, .fixed = of.fixed_first, .reserved = bytes});
  }
  void stop() {
    if (processes_.empty()) return;
    processes_.erase(processes_.begin() +
                     static_cast<std::ptrdiff_t>(up_to(processes_.size() - 1)));
  }
  void work() {
    if (processes_.empty()) return;
    Process& one = processes_[up_to(processes_.size() - 1)];
    const Kind& of = kinds_[one.kind];
    const std::uint64_t less = up_to(memory_margin(0) / 2);
    one.fixed = std::max(one.fixed, of.fixed_worked - std::min(of.fixed_worked, less));
    one.context = std::max(one.context, up_to(of.need.context));
    one.worked = true;
  }
  void measure() {
    for (Process& one : processes_) {
      if (up_to(1) == 0) continue;
      Kind& of = kinds_[one.kind];
      one.seen = seen_with(one.seen, one.holds());
      const bool raised = corrected(of.need, one.seen, of.history) > one.reserved;
      if (std::exchange(one.worked, false) || raised) learn(of.history, of.need, one.seen);
      one.reserved = corrected(of.need, one.seen, of.history);
    }
  }

  std::mt19937 chance_;
  std::vector<Kind> kinds_;
  std::vector<Process> processes_;
};

TEST(MemoryLedger, WhateverRunsAndGrows_HoldsNoMoreThanIsReserved) {
  std::uint64_t below = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Machine machine(seed);
    for (int i = 0; i < 1000; ++i) {
      machine.step();
      ASSERT_LE(machine.held(), machine.reserved()) << "step " << i;
      ASSERT_LE(machine.held(), Machine::kBudget) << "step " << i;
    }
    below += machine.started_below_estimate;
  }
  EXPECT_GT(below, 1000u);  // something is gained by it
}

}  // namespace
}  // namespace glowplug::policy
