#include "policy/shared_beginning.h"

#include <numeric>

#include <gtest/gtest.h>

#include "domain/limits.h"

namespace glowplug::policy {
namespace {

using Tokens = std::vector<std::int32_t>;
constexpr int kLong = static_cast<int>(domain::kKeptTokensMin);

Tokens run(int from, int count) {
  Tokens tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), from);
  return tokens;
}

Tokens talk(const Tokens& beginning, int own, int count = 40) {
  Tokens tokens = beginning;
  const Tokens rest = run(own, count);
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  return tokens;
}

std::optional<SharedBeginning> of(const std::vector<Tokens>& prompts) {
  std::vector<SeenPrompts> seen;
  for (const Tokens& tokens : prompts) seen.push_back({tokens});
  return shared_beginning(seen);
}

TEST(SharedBeginning, ThreePromptsThatBeginAlike_GiveIt) {
  const Tokens system = run(1, 300);
  const auto found = of({talk(system, 10'000), run(50'000, 900), talk(system, 20'000),
                         talk(system, 30'000), run(70'000, 900)});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tokens, system);
  EXPECT_EQ(found->prompts, 3u);
}

TEST(SharedBeginning, TwoPrompts_AreNotEnough) {
  const Tokens system = run(1, 300);
  EXPECT_FALSE(of({talk(system, 10'000), talk(system, 20'000)}));
  EXPECT_FALSE(of({talk(system, 10'000), talk(system, 20'000), run(50'000, 900)}));
}

TEST(SharedBeginning, AShortOne_IsSoonComputedAgain) {
  for (const int tokens : {kLong - 1, kLong}) {
    const Tokens system = run(1, tokens);
    const auto found = of({talk(system, 10'000), talk(system, 20'000), talk(system, 30'000)});
    EXPECT_EQ(found.has_value(), tokens == kLong);
  }
}

TEST(SharedBeginning, ManyThatShareLess_OutweighFewThatShareMore) {
  const Tokens wide = run(1, 400), narrow = talk(wide, 5'000, 100);
  std::vector<Tokens> prompts;
  for (int i = 0; i < 3; ++i) prompts.push_back(talk(narrow, 100'000 + 1000 * i));
  EXPECT_EQ(of(prompts)->tokens, narrow);
  for (int i = 0; i < 10; ++i) prompts.push_back(talk(wide, 200'000 + 1000 * i));
  const auto found = of(prompts);
  EXPECT_EQ(found->tokens, wide);
  EXPECT_EQ(found->prompts, 13u);
}

TEST(SharedBeginning, SeenOften_CountsAsOften) {
  const Tokens system = run(1, 300), last = talk(system, 10'000);
  const std::vector<SeenPrompts> few{{last}, {system, 1}}, enough{{last}, {system, 2}};
  EXPECT_FALSE(shared_beginning(few));
  const auto found = shared_beginning(enough);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->tokens, system);
  EXPECT_EQ(found->prompts, 3u);
}

TEST(SharedBeginning, NoPrompts_GiveNothing) { EXPECT_FALSE(of({})); }

}  // namespace
}  // namespace glowplug::policy
