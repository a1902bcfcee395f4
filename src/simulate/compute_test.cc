#include "simulate/compute.h"

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

constexpr domain::ProcessId kOne{1}, kTwo{2}, kThree{3};
constexpr Time kBegin{std::chrono::seconds(100)};

ModelProfile profile(int threads = 2) {
  ModelProfile made;
  made.threads = threads;
  made.prefill_tokens_per_s = 100;
  return made;
}

class ComputeTest : public ::testing::Test {
 protected:
  ComputeTest() { compute.begin(kBegin); }
  // What comes next, and when, in seconds from the beginning.
  std::pair<Compute::Happening, double> next() {
    const std::optional<Time> at = compute.next();
    EXPECT_TRUE(at.has_value());
    now = *at;
    const auto happening = compute.take(now);
    EXPECT_TRUE(happening.has_value());
    return {*happening, to_seconds(now - kBegin)};
  }

  Compute compute{2};
  Time now = kBegin;
};

TEST_F(ComputeTest, LoadAlone_TakesItsTime) {
  compute.load(kOne, 0.5, 1, now);
  EXPECT_EQ(compute.threads_wanted(), 1);
  const auto [happening, at] = next();
  EXPECT_EQ(happening.due, Compute::Due::Loaded);
  EXPECT_NEAR(at, 0.5, 1e-6);
  EXPECT_EQ(compute.threads_wanted(), 0);
  EXPECT_NEAR(compute.busy_core_seconds(), 0.5, 1e-6);
}

TEST_F(ComputeTest, TwiceTheThreadsThatThereAre_HalfTheSpeed) {
  compute.open(kOne, profile(), 2, now);
  compute.open(kTwo, profile(), 2, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  compute.run(kTwo, {domain::CallId{2}, 100, 1}, now);
  EXPECT_NEAR(next().second, 2.0, 1e-6);
  EXPECT_NEAR(compute.busy_core_seconds(), 4.0, 1e-6);
}

TEST_F(ComputeTest, NeighbourThatEnds_GivesTheCoresBack) {
  compute.open(kOne, profile(), 2, now);
  compute.open(kTwo, profile(), 2, now);
  compute.run(kOne, {domain::CallId{1}, 50, 1}, now);
  compute.run(kTwo, {domain::CallId{2}, 100, 1}, now);
  EXPECT_NEAR(next().second, 1.0, 1e-6);  // 50 tokens at half speed
  EXPECT_EQ(next().first.due, Compute::Due::Done);
  EXPECT_NEAR(next().second, 1.5, 1e-6);  // the other 50 at full
}

TEST_F(ComputeTest, FewerThreadsThanMeasured_ProportionallySlower) {
  compute.open(kOne, profile(), 1, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  EXPECT_NEAR(next().second, 2.0, 1e-6);
}

TEST_F(ComputeTest, ThreadsSetAtWork_CountFromThenOn) {
  compute.open(kOne, profile(), 2, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  now += std::chrono::milliseconds(500);
  compute.set_threads(kOne, 1, now);
  EXPECT_EQ(compute.threads_wanted(), 1);
  EXPECT_NEAR(next().second, 1.5, 1e-6);  // the other 50 tokens at half the speed
  compute.set_threads(kOne, 8, now);      // no more than it was measured with
  compute.run(kOne, {domain::CallId{2}, 100, 1}, now);
  EXPECT_EQ(compute.threads_wanted(), 2);
  EXPECT_EQ(next().first.due, Compute::Due::Done);
  EXPECT_NEAR(next().second, 2.5, 1e-6);
  compute.set_threads(kThree, 1, now);  // unknown: nothing
}

TEST_F(ComputeTest, Frozen_GoesOnWhereItWas_OnceItIsNotStalledEither) {
  compute.open(kOne, profile(), 2, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  now += std::chrono::milliseconds(500);
  compute.freeze(kOne, true, now);
  EXPECT_EQ(compute.threads_wanted(), 0);
  EXPECT_EQ(compute.next(), std::nullopt);
  now += std::chrono::seconds(3);
  compute.stall(kOne, now);
  compute.freeze(kOne, false, now);
  EXPECT_EQ(compute.next(), std::nullopt);
  compute.go_on(kOne, now);
  EXPECT_NEAR(next().second, 4.0, 1e-6);
  compute.freeze(kThree, true, now);  // unknown: nothing
}

TEST_F(ComputeTest, EngineWithoutThreads_SlowsNobody) {
  compute.open(kOne, profile(0), 2, now);
  compute.open(kTwo, profile(), 2, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  compute.run(kTwo, {domain::CallId{2}, 100, 1}, now);
  EXPECT_EQ(compute.threads_wanted(), 2);
  EXPECT_NEAR(next().second, 1.0, 1e-6);
}

TEST_F(ComputeTest, Stalled_GoesOnWhereItWas) {
  compute.open(kOne, profile(), 2, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  now += std::chrono::milliseconds(400);
  compute.stall(kOne, now);
  EXPECT_FALSE(compute.next());
  EXPECT_EQ(compute.threads_wanted(), 0);
  now += std::chrono::seconds(10);
  compute.go_on(kOne, now);
  EXPECT_NEAR(next().second, 11.0, 1e-6);
}

TEST_F(ComputeTest, Closed_TellsWhatRanAndIsForgotten) {
  compute.open(kOne, profile(), 2, now);
  compute.run(kOne, {domain::CallId{7}, 100, 1}, now);
  EXPECT_EQ(compute.close(kOne, now), std::vector<domain::CallId>{domain::CallId{7}});
  EXPECT_FALSE(compute.next());
  EXPECT_EQ(compute.threads_wanted(), 0);
  EXPECT_TRUE(compute.close(kThree, now).empty());
}

TEST_F(ComputeTest, WorkForLongerThanTheClockCounts_IsAheadOfNow_AndNothingOfItIsDue) {
  ModelProfile slow = profile();
  slow.prefill_tokens_per_s = 1e-12;
  compute.open(kOne, slow, 2, now);
  compute.run(kOne, {domain::CallId{1}, 100, 1}, now);
  for (int years = 1; years <= 3; ++years) {
    const std::optional<Time> at = compute.next();
    ASSERT_TRUE(at.has_value());
    EXPECT_EQ(*at - now, std::chrono::hours(24 * 366));
    now = *at;
    EXPECT_FALSE(compute.take(now).has_value());
  }
}

TEST_F(ComputeTest, ManyChanges_LoseNothing) {
  for (std::uint64_t i = 1; i <= 20; ++i) compute.open(domain::ProcessId{i}, profile(), 2, now);
  std::uint64_t put = 0, done = 0, firsts = 0;
  for (int round = 0; round < 50; ++round) {
    for (std::uint64_t i = 1; i <= 20; i += 3)
      compute.run(domain::ProcessId{i}, {domain::CallId{++put}, 3.0 + round, 2}, now);
    now += std::chrono::milliseconds(17);
    while (const auto happening = compute.take(now))
      ++(happening->due == Compute::Due::Done ? done : firsts);
  }
  while (const auto at = compute.next()) {
    now = *at;
    while (const auto happening = compute.take(now))
      ++(happening->due == Compute::Due::Done ? done : firsts);
  }
  EXPECT_EQ(done, put);
  EXPECT_EQ(firsts, put);
  EXPECT_EQ(compute.threads_wanted(), 0);
}

}  // namespace
}  // namespace glowplug::simulate
