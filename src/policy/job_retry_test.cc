#include "policy/job_retry.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::AttemptOutcome;
using enum AttemptVerdict;

TEST(JobRetry, AfterAttempt_CountsAndDecidesByOutcome) {
  struct Row {
    AttemptOutcome outcome;
    bool blamed;
    JobTries before;
    AttemptVerdict verdict;
    int attempts, kills;
  };
  const Row table[] = {{AttemptOutcome::Answered, false, {0, 3, 0}, Complete, 1, 0},
                       {AttemptOutcome::Answered, false, {2, 3, 2}, Complete, 3, 2},
                       {AttemptOutcome::Answered, true, {0, 3, 0}, Complete, 1, 0},
                       {AttemptOutcome::Invalid, false, {0, 3, 0}, Fail, 1, 0},
                       {AttemptOutcome::TimedOut, false, {0, 3, 0}, Fail, 1, 0},
                       {AttemptOutcome::TimedOut, false, {2, 3, 0}, Fail, 3, 0},
                       {AttemptOutcome::FunctionFailed, false, {0, 3, 0}, Again, 1, 0},
                       {AttemptOutcome::FunctionFailed, false, {1, 3, 0}, Again, 2, 0},
                       {AttemptOutcome::FunctionFailed, false, {2, 3, 0}, DeadLetter, 3, 0},
                       {AttemptOutcome::FunctionFailed, false, {0, 1, 0}, DeadLetter, 1, 0},
                       {AttemptOutcome::FunctionFailed, false, {0, 0, 0}, DeadLetter, 1, 0},
                       {AttemptOutcome::Crashed, false, {0, 9, 0}, Again, 1, 1},
                       {AttemptOutcome::Crashed, false, {1, 9, 1}, Again, 2, 2},
                       {AttemptOutcome::Crashed, false, {2, 9, 2}, DeadLetter, 3, 3},
                       {AttemptOutcome::Crashed, false, {2, 3, 0}, DeadLetter, 3, 1},
                       {AttemptOutcome::Crashed, true, {0, 9, 0}, DeadLetter, 1, 1},
                       {AttemptOutcome::Invalid, true, {0, 9, 0}, DeadLetter, 1, 0},
                       {AttemptOutcome::NoCapacity, true, {0, 9, 0}, DeadLetter, 1, 0},
                       {AttemptOutcome::NoCapacity, false, {2, 3, 2}, Again, 2, 2},
                       {AttemptOutcome::HandedBack, false, {2, 3, 2}, Again, 2, 2}};
  for (const Row& row : table) {
    const AfterAttempt after = after_attempt(row.outcome, row.blamed, row.before);
    EXPECT_EQ(after.verdict, row.verdict) << &row - table;
    EXPECT_EQ(after.tries.attempts, row.attempts) << &row - table;
    EXPECT_EQ(after.tries.kills, row.kills) << &row - table;
    EXPECT_EQ(after.tries.attempts_max, row.before.attempts_max);
  }
}

TEST(JobRetry, IsUsedUp_AtTheLastAttemptOrTheThirdKill) {
  const std::pair<JobTries, bool> table[] = {
      {{0, 3, 0}, false}, {{2, 3, 2}, false}, {{3, 3, 0}, true}, {{4, 3, 0}, true},
      {{0, 3, 3}, true},  {{0, 0, 0}, false}, {{1, 0, 0}, true}, {{0, -7, 0}, false}};
  for (const auto& [tries, used_up] : table)
    EXPECT_EQ(is_used_up(tries), used_up) << tries.attempts << tries.attempts_max << tries.kills;
}

TEST(JobRetry, FailurePause_DoublesToFourMinutesAndAQuarter) {
  const std::pair<int, Duration> table[] = {{-1, 1s},  {0, 1s},    {1, 1s},
                                            {2, 2s},   {3, 4s},    {8, 128s},
                                            {9, 240s}, {10, 240s}, {65'535, 240s}};
  for (const auto& [failed, pause] : table) EXPECT_EQ(failure_pause(failed, 0), pause) << failed;
  Duration least = 1h, most{};
  for (std::uint64_t spread = 0; spread < 1'000; ++spread) {
    least = std::min(least, failure_pause(99, spread));
    most = std::max(most, failure_pause(99, spread));
  }
  EXPECT_EQ(least, 240s);
  EXPECT_GT(most, 299s);
  EXPECT_LE(most, 5min);
}

TEST(JobRetry, FailurePauses_GrowWhateverTheSpread) {
  for (int failed = 1; failed < 8; ++failed)
    EXPECT_LT(failure_pause(failed, 255), failure_pause(failed + 1, 0));
}

TEST(JobRetry, CapacityPause_IsWhatTheRefusalSaidWithinBounds) {
  const std::pair<Duration, Duration> table[] = {{-5s, 1s},  {0s, 1s},   {999ms, 1s}, {1s, 1s},
                                                 {17s, 17s}, {60s, 60s}, {61s, 60s},  {24h, 60s}};
  for (const auto& [said, pause] : table) {
    EXPECT_EQ(capacity_pause(9, said, 0), pause) << said.count();
    EXPECT_GT(capacity_pause(9, said, 255), pause);
    EXPECT_LE(capacity_pause(9, said, 255), pause + pause / 4);
  }
}

TEST(JobRetry, CapacityPause_GrowsToHalfAMinuteWhereNothingWasSaid) {
  const std::pair<int, Duration> table[] = {{0, 1s},  {1, 1s},  {2, 2s},  {3, 4s},
                                            {5, 16s}, {6, 24s}, {7, 24s}, {1'000'000, 24s}};
  for (const auto& [in_a_row, pause] : table)
    EXPECT_EQ(capacity_pause(in_a_row, {}, 0), pause) << in_a_row;
  EXPECT_GT(capacity_pause(99, {}, 255), 29s);
  EXPECT_LE(capacity_pause(99, {}, 255), 30s);
}

}  // namespace
}  // namespace glowplug::policy
