#include "policy/wait_forecast.h"

#include <chrono>
#include <set>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr ServiceTime kSecond{.mean = 1s, .samples = kServiceSamplesMin};

TEST(WaitForecast, FreeSlots_WaitForNothing) {
  EXPECT_EQ(expected_wait({.slots = 4, .slots_free = 1}), Duration(0));
  EXPECT_EQ(expected_wait({.ahead = 2, .weight = 2, .slots = 4, .slots_free = 4}), Duration(0));
}

TEST(WaitForecast, TooLittleKnown_ForetellsNothing) {
  EXPECT_EQ(expected_wait({.slots = 4, .service = {1s, kServiceSamplesMin - 1}}), std::nullopt);
  EXPECT_EQ(expected_wait({.service = kSecond}), std::nullopt) << "nothing serves, nothing starts";
}

TEST(WaitForecast, Table) {
  struct Case {
    WaitFacts facts;
    Duration wait;
  };
  const Case table[] = {
      // The first of four slots is free after a quarter of an answer.
      {{.slots = 4, .service = kSecond}, 250ms},
      {{.ahead = 7, .slots = 4, .service = kSecond}, 2s},
      {{.ahead = 7, .slots = 4, .slots_free = 4, .service = kSecond}, 1s},
      {{.ahead = 0, .weight = 4, .slots = 4, .service = kSecond}, 1s},
      // Only a start: it, and then what is over its slots.
      {{.slots_coming = 4, .start_left = 3s, .service = kSecond}, 3s},
      {{.ahead = 3, .slots_coming = 4, .start_left = 3s, .service = kSecond}, 3s},
      {{.ahead = 7, .slots_coming = 4, .start_left = 3s, .service = kSecond}, 4s},
      // Both: a start that comes too late for it changes nothing.
      {{.slots = 1, .slots_coming = 4, .start_left = 3s, .service = kSecond}, 1s},
      {{.ahead = 9, .slots = 2, .slots_coming = 2, .start_left = 2s, .service = kSecond}, 3s},
      // It has taken longer than its like.
      {{.slots_coming = 1, .start_left = 0s, .service = kSecond}, 0s}};
  for (const Case& one : table)
    EXPECT_EQ(expected_wait(one.facts), one.wait)
        << one.facts.ahead << " ahead of " << one.facts.slots << " slots";
}

TEST(ServiceTime, FollowsWhatAnswersTakeNow) {
  ServiceTime service;
  for (int i = 0; i < 4; ++i) note_answer(service, 100ms);
  note_answer(service, 600ms);
  EXPECT_EQ(service.mean, 200ms);
  EXPECT_EQ(service.samples, 5);
  for (int i = 0; i < 200; ++i) note_answer(service, 1s);
  EXPECT_GT(service.mean, 990ms);
  EXPECT_EQ(service.samples, kServiceSamples);
  note_answer(service, -5s);  // a clock that stepped back
  EXPECT_GE(service.mean, 900ms);
}

TEST(RetryAfter, IsWhatTheWaitIsTooLong) {
  EXPECT_EQ(retry_after_s(10s, 60s, 0), 1);
  EXPECT_EQ(retry_after_s(61s, 60s, 0), 1);
  EXPECT_EQ(retry_after_s(63500ms, 60s, 0), 4);
  EXPECT_EQ(retry_after_s(10min, 60s, 7), 60);
}

TEST(RetryAfter, IsSpreadOverAQuarter) {
  std::set<int> seen;
  for (std::uint64_t call = 0; call < 100; ++call) seen.insert(retry_after_s(40s, 20s, call));
  EXPECT_EQ(*seen.begin(), 20);
  EXPECT_EQ(*seen.rbegin(), 25);
  EXPECT_EQ(seen.size(), 6u);
}

}  // namespace
}  // namespace glowplug::policy
