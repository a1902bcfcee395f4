#include "app/simulation_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "domain/errors.h"

namespace glowplug::app {
namespace {

using ::testing::HasSubstr;

TEST(FaultOf, RuleThatDoesNotHold_IsTold_AlsoWhereNoCallCame) {
  simulate::RunOutcome outcome;
  outcome.violation = simulate::Violation{.turn = 7, .rule = "memory", .what = "too much"};
  for (const std::uint64_t calls : {0u, 3u}) {
    outcome.figures.calls = calls;
    const auto fault = fault_of({}, outcome);
    ASSERT_TRUE(fault.has_value());
    EXPECT_EQ(fault->code, domain::error::kServerError);
    EXPECT_THAT(fault->message, HasSubstr("a rule does not hold: turn 7"));
    EXPECT_THAT(fault->message, HasSubstr("memory: too much"));
  }
}

TEST(FaultOf, RunWithoutACall_SaysWhatLeavesNone) {
  EXPECT_THAT(fault_of({}, {})->message, HasSubstr("--rate is too low"));
  EXPECT_THAT(fault_of({.trace = "mine.csv"}, {})->message,
              HasSubstr("mine.csv: no call is in it"));
  simulate::RunOutcome outcome;
  outcome.figures.calls = 1;
  EXPECT_FALSE(fault_of({}, outcome).has_value());
}

}  // namespace
}  // namespace glowplug::app
