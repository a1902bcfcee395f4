#include <gtest/gtest.h>

#include "policy/admission.h"
#include "policy/evictor.h"
#include "policy/keep_alive.h"

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

EvictionCandidate candidate(std::uint64_t id, std::uint64_t bytes, int in_flight, int used_s) {
  return {.replica = {id},
          .memory_bytes = bytes,
          .in_flight = in_flight,
          .last_used = Time(std::chrono::seconds(used_s))};
}

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
      (ProcessLimits{.memory_bytes = (300 + 100 + 128) * kMiB, .cpu_cores = 2.5, .pids = 134}));
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

TEST(Evictor, LeastRecentlyUsedIdleFirst) {
  const std::vector all{candidate(1, 100, 0, 30), candidate(2, 100, 0, 10),
                        candidate(3, 100, 1, 5)};
  EXPECT_EQ(choose_evictions(all, 100), (std::vector<domain::ProcessId>{{2}}));
  EXPECT_EQ(choose_evictions(all, 150), (std::vector<domain::ProcessId>{{2}, {1}}));
}

TEST(Evictor, NotEnoughIdle_StopsNothing) {
  const std::vector all{candidate(1, 100, 0, 30), candidate(3, 100, 1, 5)};
  EXPECT_EQ(choose_evictions(all, 101), std::nullopt);
  EXPECT_EQ(choose_evictions(all, 0), std::vector<domain::ProcessId>{});
}

TEST(Evictor, AllBusy_DrainsTheLeastRecentlyGranted) {
  const std::vector all{candidate(1, 100, 2, 30), candidate(2, 100, 1, 5)};
  EXPECT_EQ(choose_to_drain(all), domain::ProcessId{2});
  EXPECT_EQ(choose_to_drain({}), std::nullopt);
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
