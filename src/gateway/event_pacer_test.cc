#include "gateway/event_pacer.h"

#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

using namespace std::chrono_literals;
using control::Change;
using Send = EventPacer::Send;

constexpr Time kStart{1000s};

EventPacer after_first_event() {
  EventPacer pacer(kStart);
  EXPECT_EQ(pacer.next(kStart), Send::State);
  return pacer;
}

TEST(EventPacer, FirstEvent_ComesAtOnceAndOnce) {
  EventPacer pacer = after_first_event();
  EXPECT_EQ(pacer.next(kStart), Send::Nothing);
}

TEST(EventPacer, Changes_OfState_AreNotPaced) {
  EventPacer pacer = after_first_event();
  for (int i = 0; i < 3; ++i) {
    pacer.note(Change::State);
    EXPECT_LE(pacer.wake_at(), kStart);
    EXPECT_EQ(pacer.next(kStart), Send::State);
  }
}

TEST(EventPacer, Progress_ComesEvery100msAndTheLastIsNotLost) {
  EventPacer pacer = after_first_event();
  int events = 0;
  Time last{};
  for (Time now = kStart; now < kStart + 1s; now += 1ms) {
    if (now < kStart + 900ms) pacer.note(Change::Progress);
    if (pacer.next(now) != Send::Progress) continue;
    EXPECT_GE(now - last, 100ms);
    last = now;
    ++events;
  }
  EXPECT_EQ(events, 9);
  EXPECT_EQ(last, kStart + 900ms);
  EXPECT_EQ(pacer.next(kStart + 2s), Send::Nothing);
}

TEST(EventPacer, StateAfterProgress_GoesAtOnceAndTakesItAlong) {
  EventPacer pacer = after_first_event();
  pacer.note(Change::Progress);
  EXPECT_EQ(pacer.next(kStart + 1ms), Send::Nothing);
  pacer.note(Change::State);
  pacer.note(Change::Progress);
  EXPECT_EQ(pacer.next(kStart + 2ms), Send::State);
  EXPECT_EQ(pacer.next(kStart + 200ms), Send::Nothing);
}

TEST(EventPacer, ManyChangesWhileTheClientTakesNothing_AreOneEvent) {
  EventPacer pacer = after_first_event();
  for (int i = 0; i < 1000; ++i) pacer.note(i % 2 ? Change::State : Change::Progress);
  EXPECT_EQ(pacer.next(kStart + 10s), Send::State);
  EXPECT_EQ(pacer.next(kStart + 10s), Send::Nothing);
}

TEST(EventPacer, Deleted_OutranksWhatCameBeforeAndAfter) {
  EventPacer pacer = after_first_event();
  pacer.note(Change::State);
  pacer.note(Change::Deleted);
  pacer.note(Change::State);
  EXPECT_EQ(pacer.next(kStart), Send::Deleted);
}

TEST(EventPacer, Silence_EndsWithAPingEvery15s) {
  EventPacer pacer = after_first_event();
  EXPECT_EQ(pacer.wake_at(), kStart + 15s);
  EXPECT_EQ(pacer.next(kStart + 14s), Send::Nothing);
  EXPECT_EQ(pacer.next(kStart + 15s), Send::Ping);
  EXPECT_EQ(pacer.next(kStart + 16s), Send::Nothing);
  pacer.note(Change::State);
  EXPECT_EQ(pacer.next(kStart + 20s), Send::State);
  EXPECT_EQ(pacer.wake_at(), kStart + 35s);
}

}  // namespace
}  // namespace glowplug::gateway
