#include "policy/traffic.h"

#include <map>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

std::map<int, int> count(std::vector<Share> shares, int calls) {
  std::map<int, int> counts;
  for (int i = 0; i < calls; ++i) ++counts[choose(shares)];
  return counts;
}

TEST(Traffic, ThousandCalls_AreSplitExactlyByWeight) {
  const std::vector<std::pair<std::vector<Share>, std::map<int, int>>> table{
      {{{1, 90}, {2, 10}}, {{1, 900}, {2, 100}}},
      {{{1, 10}, {2, 90}}, {{1, 100}, {2, 900}}},
      {{{1, 50}, {2, 50}}, {{1, 500}, {2, 500}}},
      {{{1, 34}, {2, 33}, {3, 33}}, {{1, 340}, {2, 330}, {3, 330}}},
      {{{1, 99}, {2, 1}}, {{1, 990}, {2, 10}}},
      {{{1, 100}}, {{1, 1000}}},
      {{{1, 0}, {2, 100}}, {{2, 1000}}}};
  for (const auto& [shares, wanted] : table) EXPECT_EQ(count(shares, 1000), wanted);
}

TEST(Traffic, AnyTenCallsInARow_HoldOneOfTheTenth) {
  std::vector<Share> shares{{1, 90}, {2, 10}};
  std::vector<int> order;
  for (int i = 0; i < 100; ++i) order.push_back(choose(shares));
  for (std::size_t start = 0; start + 10 <= order.size(); ++start)
    EXPECT_EQ(std::count(order.begin() + static_cast<std::ptrdiff_t>(start),
                         order.begin() + static_cast<std::ptrdiff_t>(start + 10), 2),
              1)
        << start;
}

TEST(Traffic, SameSharesTwice_ChooseTheSame) {
  std::vector<Share> a{{1, 60}, {2, 40}}, b = a;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(choose(a), choose(b));
  EXPECT_EQ(a, b);
}

TEST(StandIn, IsTheHeaviestThatServes) {
  using enum Serves;
  EXPECT_EQ(choose_stand_in(std::vector<Candidate>{{1, 70, No}, {2, 10, Yes}, {3, 20, Yes}}), 3);
  EXPECT_EQ(choose_stand_in(std::vector<Candidate>{{1, 50, Yes}, {2, 50, Yes}}), 1);
  EXPECT_EQ(choose_stand_in(std::vector<Candidate>{{1, 70, No}, {2, 30, No}}), std::nullopt);
  EXPECT_EQ(choose_stand_in({}), std::nullopt);
}

TEST(Weights, WrongOnes_AreNamedWithTheirSum) {
  struct Case {
    std::vector<domain::StepWeight> weights;
    std::string param, part;
  };
  const std::vector<Case> cases{
      {{}, "traffic", "sum to 0."},
      {{{10, 90}, {20, 20}}, "traffic", "sum to 110 (checkpoint-10: 90, checkpoint-20: 20)"},
      {{{10, 99}}, "traffic", "sum to 99"},
      {{{10, 110}, {20, -10}}, "checkpoint-10", "is 110"},
      {{{10, 100}, {20, -1}}, "checkpoint-20", "is -1"},
      {{{10, 50}, {10, 50}}, "checkpoint-10", "named twice"}};
  for (const Case& one : cases) {
    const Result<void> checked = check_weights(one.weights);
    ASSERT_FALSE(checked) << one.part;
    EXPECT_EQ(checked.error().code, "invalid_value");
    EXPECT_EQ(checked.error().param, one.param);
    EXPECT_NE(checked.error().message.find(one.part), std::string::npos) << checked.error().message;
  }
  EXPECT_TRUE(check_weights(std::vector<domain::StepWeight>{{10, 90}, {20, 10}, {30, 0}}));
}

TEST(CheckpointName, IsReadWithAndWithoutItsPrefix) {
  using domain::parse_checkpoint;
  EXPECT_EQ(parse_checkpoint("checkpoint-10"), 10);
  EXPECT_EQ(parse_checkpoint("7"), 7);
  EXPECT_EQ(parse_checkpoint(domain::checkpoint_name(domain::kCheckpointStepMax)),
            domain::kCheckpointStepMax);
  for (const char* odd :
       {"", "checkpoint-", "checkpoint", "-1", "0", "010", "10 ", "1e3", "checkpoint-1000000001",
        "99999999999", "Checkpoint-1", "../1", "checkpoint-checkpoint-1"})
    EXPECT_EQ(parse_checkpoint(odd), std::nullopt) << odd;
}

}  // namespace
}  // namespace glowplug::policy
