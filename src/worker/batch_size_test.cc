#include "worker/batch_size.h"

#include <bit>

#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

TEST(BatchSize, MeasuredModelGetsTheFloor) { EXPECT_EQ(batch_for_step(94'000'000, 2), 32); }

TEST(BatchSize, GrowsWithThreadsAndShrinksWithWeights) {
  EXPECT_EQ(batch_for_step(94'000'000, 4), 64);
  EXPECT_EQ(batch_for_step(94'000'000, 32), 512);
  EXPECT_EQ(batch_for_step(8'000'000'000, 32), 32);
  EXPECT_EQ(batch_for_step(1, 1), 512);
}

TEST(BatchSize, IsAPowerOfTwo) {
  for (int threads = 1; threads < 64; ++threads) {
    EXPECT_TRUE(std::has_single_bit(static_cast<unsigned>(batch_for_step(94'000'000, threads))));
  }
}

}  // namespace
}  // namespace glowplug::worker
