#include "policy/cores.h"

#include <vector>

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

}  // namespace
}  // namespace glowplug::policy
