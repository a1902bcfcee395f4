#include "control/process_counts.h"

#include <numeric>

#include <gtest/gtest.h>

namespace glowplug::control {
namespace {

using domain::ExitReason;

class ProcessCountsTest : public testing::Test {
 protected:
  static StartProcess start(std::uint64_t id, Role role = Role::Replica) {
    StartProcess effect;
    effect.process = {id};
    effect.role = role;
    effect.revision = 1;
    return effect;
  }
  static StartProcess spare(std::uint64_t id) {
    StartProcess effect = start(id);
    effect.from = domain::ProcessId{100};
    effect.ahead = true;
    effect.spare = true;
    effect.revision = 0;
    return effect;
  }
  ProcessCounts::Count count(ProcessKind kind, Place place = Place::Cpu) const {
    const auto all = counts_.all();
    const auto found = all.find({kind, place});
    return found == all.end() ? ProcessCounts::Count{} : found->second;
  }
  // Of each kind, whatever has happened.
  void expect_balanced() const {
    for (const auto& [kind, one] : counts_.all())
      EXPECT_EQ(one.started,
                one.running + std::accumulate(one.ended.begin(), one.ended.end(), std::uint64_t{0}))
          << to_string(kind.kind);
  }

  ProcessCounts counts_;
};

TEST_F(ProcessCountsTest, Ends_AreKeptApartByKindPlaceAndReason) {
  counts_.started(start(1));
  counts_.started(start(2, Role::Template));
  StartProcess on_gpu = start(3);
  on_gpu.devices = {domain::DeviceId{0}};
  counts_.started(on_gpu);
  counts_.started(start(4, Role::Measure));
  counts_.started(start(5));
  counts_.ended({1}, ExitReason::Crashed);
  counts_.ended({2}, ExitReason::Stopped);
  counts_.ended({3}, ExitReason::OutOfMemory);
  counts_.ended({4}, ExitReason::Exited);
  expect_balanced();
  EXPECT_EQ(count(ProcessKind::Replica).started, 2u);
  EXPECT_EQ(count(ProcessKind::Replica).running, 1u);
  EXPECT_EQ(count(ProcessKind::Replica).ended_for(ExitReason::Crashed), 1u);
  EXPECT_EQ(count(ProcessKind::Replica).ended_for(ExitReason::OutOfMemory), 0u);
  EXPECT_EQ(count(ProcessKind::Replica, Place::Accelerator).ended_for(ExitReason::OutOfMemory), 1u);
  EXPECT_EQ(count(ProcessKind::Template).ended_for(ExitReason::Stopped), 1u);
  EXPECT_EQ(count(ProcessKind::Measure).ended_for(ExitReason::Exited), 1u);
}

TEST_F(ProcessCountsTest, SpareHandedOver_EndsAsASpareAndDiesAsAReplica) {
  counts_.started(spare(1));
  counts_.started(spare(2));
  EXPECT_EQ(count(ProcessKind::Spare).running, 2u);
  counts_.handed_over({1});
  counts_.handed_over({1});  // it is none any more
  expect_balanced();
  EXPECT_EQ(count(ProcessKind::Spare).ended_for(ExitReason::HandedOver), 1u);
  EXPECT_EQ(count(ProcessKind::Spare).running, 1u);
  EXPECT_EQ(count(ProcessKind::Replica).started, 1u);
  counts_.ended({1}, ExitReason::Killed);
  counts_.ended({2}, ExitReason::Stopped);
  expect_balanced();
  EXPECT_EQ(count(ProcessKind::Replica).ended_for(ExitReason::Killed), 1u);
  EXPECT_EQ(count(ProcessKind::Spare).ended_for(ExitReason::Stopped), 1u);
}

TEST_F(ProcessCountsTest, EndsThatNobodyStarted_AreNotCounted) {
  counts_.ended({9}, ExitReason::Crashed);
  counts_.handed_over({9});
  EXPECT_TRUE(counts_.all().empty());
  counts_.started(start(1));
  counts_.ended({1}, ExitReason::Exited);
  counts_.ended({1}, ExitReason::Exited);
  expect_balanced();
}

TEST_F(ProcessCountsTest, WhatCouldNotStart_CountsAsStartedAndEnded) {
  counts_.not_started(start(1));
  expect_balanced();
  EXPECT_EQ(count(ProcessKind::Replica).started, 1u);
  EXPECT_EQ(count(ProcessKind::Replica).running, 0u);
  EXPECT_EQ(count(ProcessKind::Replica).ended_for(ExitReason::NotStarted), 1u);
}

TEST_F(ProcessCountsTest, Standby_IsTakenOrDies) {
  for (int i = 0; i < 3; ++i) counts_.standby_started();
  counts_.standby_ended(ExitReason::HandedOver);
  counts_.standby_ended(ExitReason::Crashed);
  expect_balanced();
  EXPECT_EQ(count(ProcessKind::Standby).running, 1u);
  EXPECT_EQ(count(ProcessKind::Standby).ended_for(ExitReason::Crashed), 1u);
}

}  // namespace
}  // namespace glowplug::control
