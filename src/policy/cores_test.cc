#include "policy/cores.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

TEST(Cores, ShareWithTheBusyAndNeverExceedTheMachine) {
  EXPECT_EQ(grant_threads({.cores_total = 8}), 8);
  EXPECT_EQ(grant_threads({.cores_total = 8, .replicas_busy = 1}), 4);
  EXPECT_EQ(grant_threads({.cores_total = 8, .replicas_busy = 2}), 2);  // rounded down
  EXPECT_EQ(grant_threads({.cores_total = 2, .replicas_busy = 5}), 1);
  EXPECT_EQ(grant_threads({.cores_total = 2, .threads_requested = 16}), 2);
  EXPECT_EQ(grant_threads({.cores_total = 0}), 1);
}

TEST(Cores, WhatOthersAskedFor_IsTheirs) {
  EXPECT_EQ(grant_threads({.cores_total = 16, .cores_declared = 4}), 12);
  EXPECT_EQ(grant_threads({.cores_total = 16, .replicas_busy = 1, .cores_declared = 4}), 6);
  EXPECT_EQ(grant_threads({.cores_total = 16, .cores_declared = 16}), 1);
  EXPECT_EQ(grant_threads({.cores_total = 16, .cores_declared = 99}), 1);
  EXPECT_EQ(grant_threads({.cores_total = 16, .cores_declared = 14, .threads_requested = 8}), 8);
}

// Neighbours that take their share one after the other, none having asked for a number.
TEST(Cores, EqualShares_NeverAddUpToMoreThanThereAre) {
  for (int total = 1; total <= 64; ++total)
    for (int neighbours = 0; neighbours < total; ++neighbours) {
      const int each = grant_threads({.cores_total = total, .replicas_busy = neighbours});
      EXPECT_LE(each * (neighbours + 1), total);
      EXPECT_GT((each + 1) * (neighbours + 1), total);
    }
}

TEST(Cores, Neighbours_CountByWhereTheyCompute) {
  CoreShare share{.cores_total = 16};
  add_neighbour(share, Computes::HereShared, 16);
  add_neighbour(share, Computes::HereAsDeclared, 4);
  add_neighbour(share, Computes::Elsewhere, 8);
  EXPECT_EQ(share.replicas_busy, 1);
  EXPECT_EQ(share.cores_declared, 5);
  EXPECT_EQ(grant_threads(share), 5);
}

constexpr CoreUser kShares{};
constexpr CoreUser kOnGpu{.where = Computes::Elsewhere};
constexpr CoreUser declares(int threads) { return {Computes::HereAsDeclared, threads}; }

TEST(Cores, ThoseThatWork_HaveTheirSharesTogether) {
  struct Case {
    int cores;
    std::vector<CoreUser> working;
    std::vector<int> threads;
  };
  const std::vector<Case> cases{
      {8, {}, {}},
      {8, {kShares}, {8}},
      {2, {kShares, kShares}, {1, 1}},
      {7, {kShares, kShares}, {3, 3}},  // rounded down
      {2, {kShares, kShares, kShares}, {1, 1, 1}},
      {8, {declares(3), kShares, kShares}, {3, 2, 2}},
      {8, {kShares, declares(8)}, {1, 8}},
      {8, {declares(16)}, {8}},
      {8, {kOnGpu}, {1}},
      {8, {kShares, kOnGpu, kOnGpu}, {6, 1, 1}},
      {0, {kShares, declares(4)}, {1, 1}},
  };
  for (const Case& one : cases)
    EXPECT_THAT(share_cores(one.cores, one.working), ::testing::ElementsAreArray(one.threads));
}

constexpr CoreUser yields(CoreUser one) {
  one.claim = Claim::Yields;
  return one;
}
constexpr CoreUser kBeside{.claim = Claim::Beside};

TEST(Cores, BatchWork_HasWhatOthersLeave_AndStandsStillWhereThatIsNothing) {
  struct Case {
    int cores;
    std::vector<CoreUser> working;
    std::vector<int> threads;
  };
  const std::vector<Case> cases{
      {8, {yields(kShares)}, {8}},  // nobody to yield to
      {8, {yields(kShares), yields(kShares)}, {4, 4}},
      {8, {yields(kShares), kBeside}, {4, 4}},
      {8, {yields(kShares), kShares}, {0, 8}},
      {8, {kShares, yields(declares(1))}, {8, 0}},
      {8, {yields(kShares), declares(6)}, {2, 6}},
      {8, {yields(kShares), yields(kShares), declares(5)}, {1, 1, 5}},  // rounded down
      {8, {yields(kShares), yields(kShares), declares(7)}, {1, 0, 7}},  // the first that finds room
      {8, {yields(declares(4)), yields(declares(2)), declares(5)}, {0, 2, 5}},
      {8, {yields(declares(2)), yields(kShares), declares(4)}, {2, 2, 4}},
      {8, {yields(kShares), kOnGpu}, {7, 1}},
      {8, {kBeside, yields(kShares), kShares}, {4, 0, 4}},
      {1, {yields(kShares), kOnGpu}, {0, 1}},
  };
  for (const Case& one : cases)
    EXPECT_THAT(share_cores(one.cores, one.working), ::testing::ElementsAreArray(one.threads));
}

// Whoever comes last is granted at its start what all have from then on.
TEST(Cores, AGrant_IsTheShareOfAllFromThen) {
  for (int total = 1; total <= 32; ++total)
    for (int sharing = 1; sharing <= 8; ++sharing)
      for (int declared = 0; declared <= total; ++declared) {
        std::vector<CoreUser> working(static_cast<std::size_t>(sharing));
        working.push_back(declares(declared));
        EXPECT_EQ(share_cores(total, working).front(), grant_threads({.cores_total = total,
                                                                      .replicas_busy = sharing - 1,
                                                                      .cores_declared = declared}));
      }
}

}  // namespace
}  // namespace glowplug::policy
