#include <gtest/gtest.h>

#include "policy/admission.h"
#include "policy/keep_alive.h"

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

TEST(Estimate, CountsWeightsAndKvOfEverySlot) {
  domain::Manifest manifest;
  manifest.context = 1000;
  manifest.slots = 2;
  domain::ModelFacts facts;
  facts.weight_bytes = 90'000'000;
  facts.kv_bytes_per_token = 22'000;
  const std::uint64_t two_slots = estimate_replica_bytes(manifest, facts);
  manifest.slots = 4;
  EXPECT_EQ(estimate_replica_bytes(manifest, facts) - two_slots, 2u * 1000 * 22'000);
  EXPECT_GT(two_slots, 90'000'000u + 44'000'000u);
}

TEST(Estimate, QuantisedCacheIsHalfAndALongStepAddsItsRows) {
  domain::Manifest manifest;
  domain::ModelFacts facts;
  facts.kv_bytes_per_token = 64'000;
  facts.vocabulary = 50'000;
  const std::uint64_t f16 = estimate_cache_bytes(manifest, facts);
  EXPECT_EQ(f16, 64'000u * 2048 * 4);
  EXPECT_EQ(estimate_step_bytes(manifest, facts), 0u);
  manifest.tuning.batch = 128;
  EXPECT_EQ(estimate_step_bytes(manifest, facts), 0u);
  manifest.tuning = {512, domain::Repack::Auto, domain::KvType::Q8_0};
  EXPECT_EQ(estimate_cache_bytes(manifest, facts), f16 / 64 * 34);
  EXPECT_EQ(estimate_step_bytes(manifest, facts), 384u * 50'000 * 4);
}

TEST(Estimate, OwnersFigureWins) {
  domain::Manifest manifest;
  manifest.resources.memory_bytes = 123;
  EXPECT_EQ(estimate_replica_bytes(manifest, {}), 123u);
}

TEST(Limits, EstimateGetsRoomAndTheModelFile) {
  constexpr std::uint64_t kMiB = 1024 * 1024;
  domain::Manifest manifest;
  manifest.slots = 4;
  domain::ModelFacts facts;
  facts.file_bytes = 100 * kMiB;
  EXPECT_EQ(
      limits_of(200 * kMiB, manifest, facts, 2),
      (ProcessLimits{.memory_bytes = (300 + 100 + 128) * kMiB, .cpu_cores = 2.5, .pids = 136}));
}

TEST(Limits, OwnersFigureIsTakenAtItsWord) {
  domain::Manifest manifest;
  manifest.resources.memory_bytes = 1000;
  domain::ModelFacts facts;
  facts.file_bytes = 100;
  EXPECT_EQ(limits_of(5000, manifest, facts, 1).memory_bytes, 1100u);
}

TEST(Limits, ForeignProcess_IsHeldToWhatItsOwnerDeclaresAlone) {
  domain::Manifest manifest;
  manifest.engine.kind = domain::EngineKind::Process;
  EXPECT_EQ(limits_of(5000, manifest, {}, 2), ProcessLimits{});
  manifest.resources.memory_bytes = 1000;
  manifest.resources.threads = 2;
  EXPECT_EQ(limits_of(1000, manifest, {}, 2),
            (ProcessLimits{.memory_bytes = 1000, .cpu_cores = 2.5}));
}

// One that loads with few threads has a pool of them still when it gets one of all cores.
TEST(Limits, PidsAllowTwoPoolsOfThreads) {
  domain::Manifest manifest;
  const std::uint64_t of_none = *limits_of(5000, manifest, {}, 0).pids;
  EXPECT_EQ(limits_of(5000, manifest, {}, 256).pids, of_none + 512);
}

TEST(KeepAlive, StopsAfterTheIdleTimeUnlessHeld) {
  const Time idle{100s};
  EXPECT_EQ(stop_time({.idle_since = idle, .keep_alive = 5s}), idle + 5s);
  EXPECT_EQ(stop_time({.idle_since = idle, .keep_alive = 0s}), idle);
  EXPECT_EQ(stop_time({.idle_since = idle, .keep_alive = kForever}), std::nullopt);
  EXPECT_EQ(stop_time({.idle_since = idle, .keep_alive = 5s, .held_until = idle + 60s}),
            idle + 60s);
  EXPECT_EQ(stop_time({.idle_since = idle, .keep_alive = 5s, .within_minimum = true}),
            std::nullopt);
}

TEST(SleepTime, IsAfterIdlenessAndAfterAHold) {
  const Time begin{100s};
  EXPECT_EQ(sleep_time({begin, 30s, {}}), begin + 30s);
  EXPECT_EQ(sleep_time({begin, 30s, begin + 10s}), begin + 30s);
  EXPECT_EQ(sleep_time({begin, 30s, begin + 50s}), begin + 50s);
  EXPECT_EQ(sleep_time({begin, 30s, Time::max()}), std::nullopt);
}

}  // namespace
}  // namespace glowplug::policy
