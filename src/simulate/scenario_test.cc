#include "simulate/scenario.h"

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

std::string in_words(const ScenarioResult& result) {
  if (!result.violation) return "nothing is wrong";
  return "seed " + std::to_string(result.seed) + ", turn " +
         std::to_string(result.violation->turn) + ", " + result.violation->rule + ": " +
         result.violation->what;
}

class Seeds : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Seeds, Scenario_HoldsEverything) {
  const ScenarioResult result = run_scenario({.seed = GetParam()});
  EXPECT_FALSE(result.violation) << in_words(result);
  EXPECT_GE(result.requests, 1'000u);
  EXPECT_GE(result.faults, 20);
  EXPECT_GT(result.answered, 0u);
}

// Beside the first ones those that once failed: a held replica took the room that a call waited for
// (8), a word that was lost was waited for longer than the test (583).
INSTANTIATE_TEST_SUITE_P(First, Seeds, ::testing::Range<std::uint64_t>(1, 21));
INSTANTIATE_TEST_SUITE_P(Fixed, Seeds, ::testing::Values(57, 583, 816));

TEST(Scenario, SameSeed_SameDigest) {
  const ScenarioResult first = run_scenario({.seed = 7}), again = run_scenario({.seed = 7});
  EXPECT_EQ(first.digest, again.digest);
  EXPECT_EQ(first.turns, again.turns);
  EXPECT_NE(first.digest, run_scenario({.seed = 8}).digest);
}

}  // namespace
}  // namespace glowplug::simulate
