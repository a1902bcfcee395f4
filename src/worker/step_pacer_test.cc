#include "worker/step_pacer.h"

#include <bit>

#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

using std::chrono::milliseconds;

TEST(BatchSize, GrowsWithThreadsAndShrinksWithWeights) {
  EXPECT_EQ(batch_for_step(94'000'000, 2), 64);
  EXPECT_EQ(batch_for_step(94'000'000, 4), 128);
  EXPECT_EQ(batch_for_step(8'000'000'000, 32), 32);
  EXPECT_EQ(batch_for_step(1, 1), kBatchMax);
}

TEST(BatchSize, IsAPowerOfTwo) {
  for (int threads = 1; threads < 64; ++threads)
    EXPECT_TRUE(std::has_single_bit(static_cast<unsigned>(batch_for_step(94'000'000, threads))));
}

// A machine where a step costs `fixed` and `each` per token.
int settled(StepPacer& pacer, milliseconds fixed, milliseconds each, int steps = 50) {
  for (int i = 0; i < steps; ++i) {
    const int tokens = pacer.tokens_max();
    pacer.note(tokens, fixed + tokens * each);
  }
  return pacer.tokens_max();
}

TEST(StepPacer, SettlesWhereAStepTakesTheTarget) {
  StepPacer pacer(4, 64);
  const int tokens = settled(pacer, milliseconds(40), milliseconds(5));
  EXPECT_NEAR(40 + 5 * tokens, kStepTarget.count(), 6);
}

TEST(StepPacer, GrowsToTheBuffersOnAQuickMachine) {
  StepPacer pacer(1, 128);
  EXPECT_EQ(pacer.tokens_max(), 64);
  EXPECT_EQ(settled(pacer, milliseconds(5), milliseconds(0), 4), 128);
}

TEST(StepPacer, ASlowMachineKeepsRoomForEverySlotAndSomePrompt) {
  StepPacer pacer(6, 64);
  EXPECT_EQ(settled(pacer, milliseconds(900), milliseconds(100)), 10);
}

TEST(StepPacer, AfterALongContextAShortOneIsQuickAgain) {
  StepPacer pacer(1, 64);
  EXPECT_LT(settled(pacer, milliseconds(30), milliseconds(18)), 9);
  EXPECT_GT(settled(pacer, milliseconds(30), milliseconds(3), 9), 32);
}

TEST(StepPacer, StepsThatOnlyDecodeSayNothing) {
  StepPacer pacer(4, 64);
  for (int i = 0; i < 20; ++i) pacer.note(4, milliseconds(35));
  EXPECT_EQ(pacer.tokens_max(), 32);
}

TEST(StepPacer, OneDisturbedStepAtMostHalves) {
  StepPacer pacer(1, 64);
  pacer.note(32, milliseconds(5000));
  EXPECT_EQ(pacer.tokens_max(), 16);
  StepPacer decoding(4, 64);
  decoding.note(4, milliseconds(5000));
  EXPECT_EQ(decoding.tokens_max(), 16);
}

TEST(StepPacer, NothingIsNoStep) {
  StepPacer pacer(1, 64);
  pacer.note(0, milliseconds(500));
  pacer.note(-3, milliseconds(500));
  pacer.note(32, milliseconds(0));
  EXPECT_EQ(pacer.tokens_max(), 32);
}

TEST(StepPacer, BuffersSmallerThanTheSlotsAreNeverExceeded) {
  StepPacer pacer(8, 8);
  EXPECT_EQ(pacer.tokens_max(), 8);
  EXPECT_EQ(settled(pacer, milliseconds(1), milliseconds(1)), 8);
}

}  // namespace
}  // namespace glowplug::worker
