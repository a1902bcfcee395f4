#include "control/crash_record.h"

#include <gtest/gtest.h>

namespace glowplug::control {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow{1000s};
const std::string kAbort = "killed by signal 6 (Aborted)";

ServingDeath death(std::uint64_t call, std::optional<std::uint64_t> retry_of = {},
                   int revision = 1) {
  CallAboard aboard{.call = {call}, .retry_of = {}};
  if (retry_of) aboard.retry_of = domain::CallId{*retry_of};
  return {.at = kNow, .revision = revision, .cause = kAbort, .calls = {aboard}};
}

TEST(CrashRecord, HowItEnded_LeavesOutWhatItSaidLast) {
  const std::pair<const char*, const char*> table[] = {
      {"killed by signal 6 (Aborted): GGML_ASSERT failed: n > 0", "killed by signal 6 (Aborted)"},
      {"exited with status 3", "exited with status 3"},
      {"exited with status 3: no such file", "exited with status 3"},
      {"killed by the kernel: over its memory limit of 1.2 GB", "killed by the kernel"},
      {"", ""}};
  for (const auto& [cause, ended] : table) EXPECT_EQ(how_it_ended(cause), ended);
}

TEST(CrashRecord, DeathsOfOneRevisionAndCause_AreALoop) {
  CrashRecord record;
  for (std::uint64_t i = 1; i <= 4; ++i) record.add(death(i));
  record.add(death(5, {}, 2));
  ServingDeath other = death(6);
  other.cause = "exited with status 3";
  record.add(other);
  EXPECT_FALSE(record.is_loop(1, kAbort, kNow));
  record.add(death(7));
  EXPECT_TRUE(record.is_loop(1, kAbort, kNow));
  EXPECT_FALSE(record.is_loop(1, kAbort, kNow + 61s));
  EXPECT_FALSE(record.is_loop(2, kAbort, kNow));
  record.forget(1);
  EXPECT_FALSE(record.is_loop(1, kAbort, kNow));
}

TEST(CrashRecord, ForgivenDeaths_DoNotCountAndAreKnownStill) {
  CrashRecord record;
  for (std::uint64_t i = 1; i <= 5; ++i) record.add(death(i));
  record.forgive({3});
  EXPECT_FALSE(record.is_loop(1, kAbort, kNow));
  EXPECT_EQ(record.deaths_of({3}), 1);
  EXPECT_EQ(record.deaths_of({9}), 0);
}

TEST(CrashRecord, AnswerAfterwards_ForgivesTheOldestSuspectOfItsRevision) {
  CrashRecord record;
  for (const std::uint64_t call : {1UL, 3UL, 5UL}) {
    record.add(death(call));
    ServingDeath second = death(call + 1, call);
    second.request = domain::CallId{call};
    record.add(second);
  }
  EXPECT_TRUE(record.is_loop(1, kAbort, kNow));
  EXPECT_FALSE(record.forgive_suspect(2));
  EXPECT_TRUE(record.forgive_suspect(1));
  EXPECT_FALSE(record.is_loop(1, kAbort, kNow));
  EXPECT_TRUE(record.forgive_suspect(1));
  EXPECT_TRUE(record.forgive_suspect(1));
  EXPECT_FALSE(record.forgive_suspect(1));
}

TEST(CrashRecord, KeepsTheLatestOnly) {
  CrashRecord record;
  for (std::uint64_t i = 1; i <= 100; ++i) record.add(death(i));
  EXPECT_EQ(record.deaths_of({1}), 0);
  EXPECT_EQ(record.deaths_of({100}), 1);
}

}  // namespace
}  // namespace glowplug::control
