#include "policy/retry.h"

#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

TEST(Retry, FailureMemory_DoublesUpToMostOfAMinute) {
  const std::pair<int, Duration> table[] = {{-1, 5s}, {0, 5s},  {1, 5s},  {2, 10s},        {3, 20s},
                                            {4, 40s}, {5, 45s}, {6, 45s}, {1'000'000, 45s}};
  for (const auto& [in_a_row, memory] : table)
    EXPECT_EQ(failure_memory(in_a_row, 0), memory) << in_a_row;
}

TEST(Retry, FailureMemory_IsSpreadByAQuarterAndNeverMoreThanAMinute) {
  EXPECT_EQ(failure_memory(1, 255), 5s);
  Duration least = 1h, most{};
  for (std::uint64_t spread = 0; spread < 1'000; ++spread) {
    least = std::min(least, failure_memory(9, spread));
    most = std::max(most, failure_memory(9, spread));
  }
  EXPECT_EQ(least, 45s);
  EXPECT_GT(most, 56s);
  EXPECT_LT(most, 1min);
}

TEST(Retry, FiveDeathsWithinAMinute_AreACrashLoop) {
  const Time now{1000s};
  const std::pair<std::vector<Duration>, bool> table[] = {
      // how long ago
      {{}, false},
      {{4s, 3s, 2s, 1s}, false},
      {{4s, 3s, 2s, 1s, 0s}, true},
      {{60s, 50s, 40s, 30s, 0s}, true},
      {{61s, 50s, 40s, 30s, 0s}, false},
      {{90s, 80s, 4s, 3s, 2s, 1s, 0s}, true},
      {{90s, 80s, 70s, 65s, 62s, 61s, 0s}, false}};
  for (const auto& [ago, loop] : table) {
    std::vector<Time> deaths;
    for (const Duration one : ago) deaths.push_back(now - one);
    EXPECT_EQ(is_crash_loop(deaths, now), loop) << ago.size();
  }
}

TEST(Retry, QuarantineTime_DoublesFromTenSecondsAndIsSpread) {
  const std::pair<int, Duration> table[] = {{0, 10s}, {1, 10s}, {2, 20s},        {3, 40s},
                                            {4, 45s}, {9, 45s}, {1'000'000, 45s}};
  for (const auto& [in_a_row, time] : table)
    EXPECT_EQ(quarantine_time(in_a_row, 0), time) << in_a_row;
  EXPECT_GT(quarantine_time(1, 255), 12s);
  EXPECT_LT(quarantine_time(1, 255), 12500ms);
}

TEST(Retry, RequestIsBlamed_OnceItKilledTwoTheLastAloneAndOthersWereAnswered) {
  const std::pair<Suspicion, Blame> table[] = {
      {{.deaths = 2, .alone = true, .answered = 1}, Blame::Request},
      {{.deaths = 3, .alone = true, .answered = kAnswersMax}, Blame::Request},
      {{.deaths = 1, .alone = true, .answered = 1}, Blame::Function},
      {{.deaths = 2, .alone = false, .answered = 1}, Blame::Function},
      {{.deaths = 2, .alone = true, .answered = 0}, Blame::Function}};
  for (const auto& [suspicion, blamed] : table)
    EXPECT_EQ(blame(suspicion), blamed)
        << suspicion.deaths << suspicion.alone << suspicion.answered;
}

}  // namespace
}  // namespace glowplug::policy
