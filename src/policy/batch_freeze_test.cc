#include "policy/batch_freeze.h"

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Time kBegin{1000s};

TEST(BatchFreeze, StandsForTenSecondsAtMost_ThenRunsForTwo) {
  FreezeBook book(kBegin);
  EXPECT_TRUE(book.may_freeze(kBegin));
  EXPECT_EQ(book.review(kBegin), std::nullopt);
  book.note(true, kBegin);
  EXPECT_EQ(book.review(kBegin + 4s), kBegin + 10s);
  EXPECT_TRUE(book.may_freeze(kBegin + 10s - 1ns));
  EXPECT_FALSE(book.may_freeze(kBegin + 10s));
  book.note(false, kBegin + 10s);
  EXPECT_EQ(book.review(kBegin + 10s), kBegin + 12s);
  EXPECT_FALSE(book.may_freeze(kBegin + 12s - 1ns));
  EXPECT_TRUE(book.may_freeze(kBegin + 12s));
}

// Calls of others that follow each other at once would let it run for moments only.
TEST(BatchFreeze, ShortPauses_CountAsTheLittleThatTheyAre) {
  FreezeBook book(kBegin);
  Time now = kBegin;
  int times = 0;
  for (; book.may_freeze(now); ++times) {
    book.note(true, now);
    now += 990ms;
    book.note(false, now);
    now += 10ms;
  }
  EXPECT_EQ(times, 11);  // of 0.99 s each
  EXPECT_EQ(book.review(now), now + 2s - 110ms);
}

TEST(BatchFreeze, WhatHasRunForTwoSeconds_MayStandForTenAnew) {
  FreezeBook book(kBegin);
  book.note(true, kBegin);
  book.note(false, kBegin + 9s);
  book.note(true, kBegin + 11s);
  EXPECT_EQ(book.review(kBegin + 11s), kBegin + 21s);
}

TEST(BatchFreeze, ThatWasTooLateToLook_IsDueAtOnce) {
  FreezeBook book(kBegin);
  book.note(true, kBegin);
  EXPECT_EQ(book.review(kBegin + 1h), kBegin + 1h);
}

}  // namespace
}  // namespace glowplug::policy
