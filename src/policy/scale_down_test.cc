#include "policy/scale_down.h"

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/growth.h"

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using Id = domain::ProcessId;

ScaleDownCandidate one(std::uint64_t id, int in_flight, double worth = 0, int used_s = 0) {
  return {.replica = {id},
          .in_flight = in_flight,
          .prompts_worth = worth,
          .group = {},
          .last_used = Time(std::chrono::seconds(used_s))};
}
ScaleDownCandidate of(std::uint64_t group, ScaleDownCandidate candidate) {
  candidate.group = group;
  return candidate;
}
std::vector<Id> retired(const std::vector<ScaleDownCandidate>& serving, int surplus) {
  return choose_to_retire(serving, surplus);
}

TEST(Retire, Order_IsEmptiestThenLeastWorthThenLongestUnusedThenFirst) {
  EXPECT_THAT(retired({one(1, 1), one(2, 0), one(3, 2)}, 3), ElementsAre(Id{2}, Id{1}, Id{3}));
  EXPECT_THAT(retired({one(1, 0, 5), one(2, 0, 1), one(3, 0, 9)}, 2), ElementsAre(Id{2}, Id{1}));
  EXPECT_THAT(retired({one(1, 0, 1, 30), one(2, 0, 1, 10)}, 1), ElementsAre(Id{2}));
  EXPECT_THAT(retired({one(2, 0), one(1, 0)}, 1), ElementsAre(Id{1}));
  EXPECT_THAT(retired({one(1, 1, 0, 0), one(2, 0, 99, 99)}, 1), ElementsAre(Id{2}));
  EXPECT_THAT(retired({one(1, 0, 2, 0), one(2, 0, 1, 99)}, 1), ElementsAre(Id{2}));
}

TEST(Retire, Surplus_BoundsHowMany) {
  const std::vector all{one(1, 0), one(2, 0), one(3, 0)};
  EXPECT_THAT(retired(all, -1), IsEmpty());
  EXPECT_THAT(retired(all, 0), IsEmpty());
  EXPECT_THAT(retired(all, 1), ElementsAre(Id{1}));
  EXPECT_THAT(retired(all, 9), ElementsAre(Id{1}, Id{2}, Id{3}));
  EXPECT_THAT(retired({}, 3), IsEmpty());
}

TEST(Retire, LastOfAGroup_Stays) {
  EXPECT_THAT(retired({of(1, one(1, 0)), of(2, one(2, 0)), of(3, one(3, 0))}, 2), IsEmpty());
  EXPECT_THAT(retired({of(1, one(1, 0)), of(1, one(2, 0)), of(2, one(3, 0))}, 3),
              ElementsAre(Id{1}));
  EXPECT_THAT(retired({of(1, one(1, 0)), of(1, one(2, 1)), of(1, one(3, 2))}, 3),
              ElementsAre(Id{1}, Id{2}));
  EXPECT_THAT(retired({one(1, 0), of(1, one(2, 0))}, 2), ElementsAre(Id{1}));
}

TEST(Recall, IsWhoWouldHaveGoneLast) {
  EXPECT_EQ(choose_to_recall({}), std::nullopt);
  EXPECT_EQ(choose_to_recall(std::vector{one(1, 0), one(2, 3), one(3, 1)}), Id{2});
  EXPECT_EQ(choose_to_recall(std::vector{one(1, 0, 7), one(2, 0, 1)}), Id{1});
}

TEST(Stop, NeverWithACallInFlight) {
  EXPECT_TRUE(may_stop(one(1, 0)));
  EXPECT_FALSE(may_stop(one(1, 1)));
}

TEST(Growth, NeedsCoresThatNobodyHas) {
  const auto room = [](int each, int taken, int wanted) {
    return growth_room({.threads_each = each, .cores_total = 16, .cores_taken = taken}, wanted)
        .replicas;
  };
  EXPECT_EQ(room(4, 4, 9), 3);
  EXPECT_EQ(room(4, 12, 9), 1);
  EXPECT_EQ(room(4, 13, 9), 0);
  EXPECT_EQ(room(16, 0, 9), 1);
  EXPECT_EQ(room(16, 1, 9), 0);
  EXPECT_EQ(room(4, 20, 9), 0);
  EXPECT_EQ(room(0, 14, 9), 2);
  EXPECT_EQ(room(4, 4, 1), 1);
  EXPECT_EQ(room(4, 4, 0), 0);
  EXPECT_EQ(room(4, 4, -3), 0);
}

TEST(Growth, NeedsMemoryThatIsFree) {
  GrowthFacts facts{.cores_total = 64, .bytes_each = 100, .bytes_free = 399};
  EXPECT_EQ(growth_room(facts, 9).replicas, 3);
  facts.bytes_free = 400;
  EXPECT_EQ(growth_room(facts, 9).replicas, 4);
  facts.bytes_free = 99;
  EXPECT_EQ(growth_room(facts, 9).replicas, 0);
  facts.bytes_each = 0;
  EXPECT_EQ(growth_room(facts, 9).replicas, 9);
}

TEST(Growth, SaysWhatThereIsTooLittleOf) {
  GrowthFacts facts{
      .threads_each = 2, .cores_total = 8, .cores_taken = 2, .bytes_each = 100, .bytes_free = 300};
  EXPECT_EQ(growth_room(facts, 3), (GrowthRoom{3, GrowthLimit::None}));
  EXPECT_EQ(growth_room(facts, 4), (GrowthRoom{3, GrowthLimit::Cores}));
  facts.bytes_free = 299;
  EXPECT_EQ(growth_room(facts, 4), (GrowthRoom{2, GrowthLimit::Memory}));
  facts.cores_taken = 8;
  EXPECT_EQ(growth_room(facts, 4), (GrowthRoom{0, GrowthLimit::Cores}));
}

}  // namespace
}  // namespace glowplug::policy
