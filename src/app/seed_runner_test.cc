#include "app/seed_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::app {
namespace {

using ::testing::HasSubstr;

TEST(SeedRunner, Range_IsReadOrRefused) {
  EXPECT_EQ(parse_seeds("1..10")->last, 10u);
  EXPECT_EQ(parse_seeds("42")->first, 42u);
  EXPECT_EQ(parse_seeds("42")->last, 42u);
  for (const char* bad : {"", "..", "1..", "a..b", "1..2..3", "-1..4", "1.5..9"})
    EXPECT_THAT(parse_seeds(bad).error().message, HasSubstr("write 1..10000")) << bad;
  EXPECT_THAT(parse_seeds("9..1").error().message, HasSubstr("ends before it begins"));
  EXPECT_THAT(parse_seeds("1..999999999999").error().message, HasSubstr("more than"));
  EXPECT_THAT(parse_seeds("18446744073709551615").error().message, HasSubstr("goes beyond"));
}

TEST(SeedRunner, Seeds_ComeToTheSameOnOneProcessAndOnThree) {
  const auto one = run_seeds({1, 6}, 1, nullptr), three = run_seeds({1, 6}, 3, nullptr);
  ASSERT_TRUE(one.ok() && three.ok());
  EXPECT_EQ(one->seeds, 6u);
  EXPECT_TRUE(one->failures.empty());
  EXPECT_GE(one->fewest_calls, 1000u);
  EXPECT_GE(one->fewest_faults, 20u);
  EXPECT_EQ(three->digest, one->digest);
  EXPECT_EQ(three->turns, one->turns);
  EXPECT_EQ(three->answered, one->answered);
  const auto others = run_seeds({2, 7}, 2, nullptr);
  EXPECT_NE(others->digest, one->digest);
}

}  // namespace
}  // namespace glowplug::app
