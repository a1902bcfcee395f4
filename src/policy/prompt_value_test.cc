#include "policy/prompt_value.h"

#include <string>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using Ids = std::vector<std::uint64_t>;

PromptWorth plain(std::uint64_t id) {
  return {.id = id, .bytes = 1000, .tokens = 100, .uses = 1, .idle = 60s};
}

struct Case {
  std::string name;
  PromptWorth goes;
  PromptWorth stays;
};

PromptWorth with(std::uint64_t id, auto change) {
  PromptWorth worth = plain(id);
  change(worth);
  return worth;
}

TEST(PromptValue, OfTwo_TheOneWorthLessGoes) {
  // The one that goes has the higher id, so that the order of ids cannot decide.
  const std::vector<Case> cases{
      {"less recently used", with(9, [](auto& w) { w.idle = 61s; }), plain(1)},
      {"less used", with(9, [](auto& w) { w.uses = 0; }), plain(1)},
      {"fewer tokens in as many bytes", with(9, [](auto& w) { w.tokens = 99; }), plain(1)},
      {"more bytes for as many tokens", with(9, [](auto& w) { w.bytes = 1001; }), plain(1)},
      {"cheaper to recompute", with(9, [](auto& w) { w.recompute = 1s; }),
       with(1, [](auto& w) { w.recompute = 2s; })},
      {"a measured prefill outweighs the count of tokens",
       with(9, [](auto& w) { w.recompute = 1s, w.tokens = 500; }),
       with(1, [](auto& w) { w.recompute = 2s, w.tokens = 50; })},
      {"cheap beside one that nobody measured", with(9, [](auto& w) { w.recompute = 1ms; }),
       plain(1)},
      {"used twice, but long ago", with(9, [](auto& w) { w.uses = 2, w.idle = 1h; }), plain(1)},
  };
  for (const Case& one : cases)
    EXPECT_EQ(prompts_to_evict(std::vector{one.stays, one.goes}, 1), Ids{9}) << one.name;
}

TEST(PromptValue, Equals_TheOlderIdGoes) {
  EXPECT_EQ(prompts_to_evict(std::vector{plain(4), plain(3)}, 1), Ids{3});
}

TEST(PromptValue, ClockWentBack_CountsAsUsedNow) {
  const PromptWorth ahead = with(1, [](auto& w) { w.idle = -10s; });
  EXPECT_EQ(prompt_value(ahead), prompt_value(with(2, [](auto& w) { w.idle = 0s; })));
}

TEST(PromptValue, EmptyState_HasAValue) {
  EXPECT_EQ(prompt_value({}), 0);  // no division by its zero bytes
}

TEST(PromptsToEvict, TakesNoMoreThanNeeded) {
  const std::vector kept{plain(1), plain(2), plain(3)};
  EXPECT_EQ(prompts_to_evict(kept, 0), Ids{});
  EXPECT_EQ(prompts_to_evict(kept, 1000), Ids{1});
  EXPECT_EQ(prompts_to_evict(kept, 1001), (Ids{1, 2}));
}

TEST(PromptsToEvict, AllAreNotEnough_NoneGoes) {
  EXPECT_EQ(prompts_to_evict(std::vector{plain(1), plain(2)}, 2001), std::nullopt);
  EXPECT_EQ(prompts_to_evict({}, 1), std::nullopt);
}

TEST(LeastValuablePrompts, CountsAndStopsAtTheEnd) {
  const std::vector kept{plain(1), with(2, [](auto& w) { w.uses = 0; }), plain(3)};
  EXPECT_EQ(least_valuable_prompts(kept, 2), (Ids{2, 1}));
  EXPECT_EQ(least_valuable_prompts(kept, 9).size(), 3u);
}

}  // namespace
}  // namespace glowplug::policy
