#include "policy/schedule.h"

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono;
using namespace std::chrono_literals;
using domain::ScheduledHold;
using domain::Tier;

constexpr std::uint8_t kMonday = 1, kSunday = 1 << 6, kWorkdays = 0x1f;

// 2026-11-23 is a Monday.
WallTime at(int day, int hour, int minute = 0) {
  return sys_days(2026y / November / 23) + days(day) + hours(hour) + minutes(minute);
}

TEST(Schedule, WithinItsHours_Holds) {
  const domain::Schedule nine_to_five{
      {.days = kWorkdays, .from = 9 * 60, .until = 17 * 60, .tier = Tier::Template}};
  EXPECT_EQ(scheduled_at(nine_to_five, at(0, 9)), (Scheduled{.has_template = true}));
  EXPECT_EQ(scheduled_at(nine_to_five, at(4, 16, 59)), (Scheduled{.has_template = true}));
  EXPECT_EQ(scheduled_at(nine_to_five, at(0, 8, 59)), Scheduled{});
  EXPECT_EQ(scheduled_at(nine_to_five, at(0, 17)), Scheduled{});
  EXPECT_EQ(scheduled_at(nine_to_five, at(5, 12)), Scheduled{}) << "a Saturday";
}

TEST(Schedule, OverMidnight_BelongsToTheDayItBegins) {
  const domain::Schedule night{
      {.days = kSunday, .from = 22 * 60, .until = 6 * 60, .tier = Tier::Replica, .count = 2}};
  EXPECT_EQ(scheduled_at(night, at(-1, 23)).replicas, 2);
  EXPECT_EQ(scheduled_at(night, at(0, 5, 59)).replicas, 2) << "Monday morning";
  EXPECT_EQ(scheduled_at(night, at(0, 6)).replicas, 0);
  EXPECT_EQ(scheduled_at(night, at(0, 23)).replicas, 0) << "Monday night";
  EXPECT_EQ(scheduled_at(night, at(-2, 23)).replicas, 0) << "Saturday night";
}

TEST(Schedule, SameHourAsUntil_HoldsAllDay) {
  const domain::Schedule always{{.from = 60, .until = 60, .tier = Tier::Template}};
  for (int hour = 0; hour < 48; ++hour)
    EXPECT_TRUE(scheduled_at(always, at(0, hour)).has_template) << hour;
}

TEST(Schedule, SeveralAtOnce_TheLargestCounts) {
  const domain::Schedule both{{.from = 8 * 60, .until = 20 * 60, .tier = Tier::Replica, .count = 1},
                              {.from = 9 * 60, .until = 10 * 60, .tier = Tier::Replica, .count = 3},
                              {.from = 9 * 60, .until = 10 * 60, .tier = Tier::Template}};
  EXPECT_EQ(scheduled_at(both, at(0, 9, 30)), (Scheduled{.replicas = 3, .has_template = true}));
  EXPECT_EQ(scheduled_at(both, at(0, 11)), (Scheduled{.replicas = 1}));
}

TEST(Schedule, NextChange_IsTheNextBeginningOrEnd) {
  const domain::Schedule monday{{.days = kMonday, .from = 9 * 60, .until = 17 * 60}};
  EXPECT_EQ(next_change(monday, at(0, 3)), at(0, 9));
  EXPECT_EQ(next_change(monday, at(0, 9)), at(0, 17));
  EXPECT_EQ(next_change(monday, at(0, 17)), at(7, 9)) << "a week later";
  EXPECT_EQ(next_change({}, at(0, 3)), std::nullopt);
}

TEST(Schedule, NextChange_OfANightIsItsEnd) {
  const domain::Schedule night{{.days = kSunday, .from = 22 * 60, .until = 6 * 60}};
  EXPECT_EQ(next_change(night, at(0, 1)), at(0, 6));
}

}  // namespace
}  // namespace glowplug::policy
