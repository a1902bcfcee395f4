#include "policy/retry.h"

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

}  // namespace
}  // namespace glowplug::policy
