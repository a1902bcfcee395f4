#include "policy/blob_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using ::testing::ElementsAre;
constexpr std::uint64_t kGb = 1'000'000'000;

std::vector<std::string> evicted(const std::vector<BlobUse>& blobs, std::uint64_t needed) {
  const auto chosen = choose_blobs(blobs, needed, 0);
  return chosen ? chosen->blobs : std::vector<std::string>{"too little"};
}

TEST(BlobValue, FewerUses_GoFirst) {
  EXPECT_THAT(
      evicted({{.sha256 = "a", .bytes = kGb, .uses = 5}, {.sha256 = "b", .bytes = kGb, .uses = 1}},
              kGb),
      ElementsAre("b"));
}

TEST(BlobValue, EqualUses_TheLargerFileGoesFirst) {
  EXPECT_THAT(evicted({{.sha256 = "small", .bytes = kGb / 10, .uses = 2},
                       {.sha256 = "large", .bytes = 10 * kGb, .uses = 2}},
                      kGb / 10),
              ElementsAre("large"));
}

TEST(BlobValue, NeverUsedAndAlike_LeastRecentlyUsedGoesFirst) {
  EXPECT_THAT(evicted({{.sha256 = "late", .bytes = kGb, .last_used_ms = 9},
                       {.sha256 = "early", .bytes = kGb, .last_used_ms = 3}},
                      kGb),
              ElementsAre("early"));
}

TEST(BlobValue, OneIsNotEnough_AsManyGoAsAreNeeded) {
  EXPECT_THAT(evicted({{.sha256 = "a", .bytes = kGb, .uses = 1},
                       {.sha256 = "b", .bytes = kGb, .uses = 2},
                       {.sha256 = "c", .bytes = kGb, .uses = 3}},
                      kGb + 1),
              ElementsAre("a", "b"));
}

TEST(BlobValue, AllIsNotEnough_NothingGoes) {
  EXPECT_FALSE(choose_blobs(std::vector<BlobUse>{{.sha256 = "a", .bytes = kGb}}, 2 * kGb, 0));
  EXPECT_FALSE(choose_blobs({}, 1, 0));
}

TEST(BlobValue, NothingNeeded_NothingGoesAndTheFloorStays) {
  const auto chosen = choose_blobs(std::vector<BlobUse>{{.sha256 = "a", .bytes = kGb}}, 0, 7);
  ASSERT_TRUE(chosen);
  EXPECT_TRUE(chosen->blobs.empty());
  EXPECT_EQ(chosen->floor, 7);
}

// A file that was used a hundred times long ago must not stay for ever beside files in use now.
TEST(BlobValue, FloorRisesWithEachEviction_UntilOldUsesCountForNothing) {
  const BlobUse old{.sha256 = "old", .bytes = kGb, .uses = 100, .floor = 0};
  double floor = 0;
  int rounds = 0;
  for (; rounds < 1000; ++rounds) {
    const std::vector<BlobUse> held{old,
                                    {.sha256 = "new", .bytes = kGb, .uses = 1, .floor = floor}};
    const auto chosen = choose_blobs(held, kGb, floor);
    ASSERT_TRUE(chosen);
    EXPECT_GE(chosen->floor, floor);
    floor = chosen->floor;
    if (chosen->blobs.front() == "old") break;
  }
  EXPECT_GT(rounds, 10);
  EXPECT_LT(rounds, 1000);
}

}  // namespace
}  // namespace glowplug::policy
