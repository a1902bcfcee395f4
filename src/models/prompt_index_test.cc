#include "models/prompt_index.h"

#include <fcntl.h>

#include <gtest/gtest.h>

#include "domain/limits.h"
#include "models/test_states.h"

namespace glowplug::models {
namespace {

StateEntry entry(Tokens tokens, std::uint64_t bytes = 10, std::int64_t last_used = 0) {
  StateEntry made;
  made.owner = kAnn;
  made.fit = kFit;
  made.bytes = bytes;
  made.token_count = tokens.size();
  made.tokens = std::move(tokens);
  made.last_used = last_used;
  return made;
}

StateEntry in_memory(StateEntry made) {
  made.in_memory.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return made;
}

StateEntry pending(StateEntry made) {
  made = in_memory(std::move(made));
  made.pending = true;
  return made;
}

TEST(PromptIndex, Memory_HoldsTheLastUsedWithinItsBound) {
  PromptIndex index;
  index.add(1, in_memory(entry({1}, 10, 40)));
  index.add(2, in_memory(entry({2}, 10, 50)));
  index.add(3, in_memory(entry({3}, 10, 60)));
  index.add(4, pending(entry({4}, 10, 1)));
  index.add(5, entry({5}, 10, 70));
  EXPECT_EQ(index.memory_bytes(), 30u);
  EXPECT_EQ(index.shrink_memory(20).size(), 1u);
  EXPECT_FALSE(index.find(1)->in_memory.valid());
  EXPECT_TRUE(index.find(2)->in_memory.valid());
  EXPECT_TRUE(index.find(4)->in_memory.valid()) << "being written";
  EXPECT_EQ(index.shrink_memory(0).size(), 2u);
  EXPECT_EQ(index.memory_bytes(), 0u);
}

TEST(PromptIndex, LongerState_ReplacesItsProperPrefixesOfOneOwnerAndFit) {
  PromptIndex index;
  index.add(1, entry({1, 2}));
  index.add(2, entry({1, 2, 3}));     // equal, no proper prefix
  index.add(3, entry({1, 3}));        // another conversation
  index.add(4, pending(entry({1})));  // still being written
  StateEntry foreign = entry({1, 2});
  foreign.owner = kAnnElsewhere;
  index.add(5, std::move(foreign));
  StateEntry other_fit = entry({1, 2});
  other_fit.fit.settings = "context=4096";
  index.add(6, std::move(other_fit));
  StateEntry unread = entry({1, 2});
  unread.tokens.reset();
  index.add(7, std::move(unread));
  EXPECT_EQ(index.replaced_by(entry({1, 2, 3})), StateIds{1});
}

TEST(PromptIndex, EqualTokens_AreFoundForOneOwnerAndFitOnly) {
  PromptIndex index;
  StateEntry foreign = entry({1, 2});
  foreign.owner = kAnnElsewhere;
  index.add(1, std::move(foreign));
  EXPECT_EQ(index.with_tokens(entry({1, 2})), std::nullopt);
  index.add(2, entry({1, 2}));
  EXPECT_EQ(index.with_tokens(entry({1, 2})), 2u);
  EXPECT_EQ(index.with_tokens(entry({1, 2, 3})), std::nullopt);
}

TEST(PromptIndex, Room_IsMadeByTheLeastValuable) {
  PromptIndex index;
  index.add(1, entry({1}, 10, 50));
  index.add(2, entry({2}, 10, 40));
  EXPECT_EQ(index.make_room(entry({3}, 10), {.budget_bytes = 30, .now = 60}), StateIds{});
  EXPECT_EQ(index.make_room(entry({3}, 10), {.budget_bytes = 29, .now = 60}), StateIds{2});
  EXPECT_EQ(index.make_room(entry({3}, 10), {.budget_bytes = 9, .now = 60}), std::nullopt);
}

TEST(PromptIndex, WhatIsReplaced_CountsAsRoom) {
  PromptIndex index;
  index.add(1, entry({1}, 10, 50));
  index.add(2, entry({2}, 10, 40));
  EXPECT_EQ(index.make_room(entry({1, 1}, 12), {.budget_bytes = 22, .now = 60}), StateIds{});
}

TEST(PromptIndex, Pending_NeverGoes) {
  PromptIndex index;
  index.add(1, pending(entry({1}, 10)));
  EXPECT_EQ(index.make_room(entry({3}, 10), {.budget_bytes = 19, .now = 60}), std::nullopt);
  EXPECT_EQ(index.last_used_before(1'000), StateIds{});
  EXPECT_EQ(index.over_budget({.budget_bytes = 5, .now = 60}), StateIds{});
}

TEST(PromptIndex, OwnerAtHisBound_LosesHisLeastValuable) {
  PromptIndex index;
  const auto bound = static_cast<int>(domain::kPromptStatesPerOwnerMax);
  StateEntry foreign = entry({1}, 10, 0);  // worth less than all others, but another's
  foreign.owner = kAnnElsewhere;
  index.add(1, std::move(foreign));
  for (int i = 0; i < bound - 1; ++i)
    index.add(static_cast<std::uint64_t>(i + 2), entry({i}, 10, i == 7 ? 10 : 50));
  const PromptIndex::Room plenty{.budget_bytes = 1 << 30, .now = 60};
  EXPECT_EQ(index.make_room(entry({-1}), plenty), StateIds{});
  index.add(5'000, entry({-2}, 10, 50));
  EXPECT_EQ(index.make_room(entry({-1}), plenty), StateIds{9});
}

TEST(PromptIndex, AllAtTheirBound_TheLeastValuableOfAllGoes) {
  PromptIndex index;
  for (std::uint64_t i = 0; i < domain::kPromptStatesMax; ++i) {
    StateEntry one = entry({1}, 10, i == 77 ? 10 : 50);
    one.owner.domain = std::to_string(i);
    index.add(i, std::move(one));
  }
  const PromptIndex::Room plenty{.budget_bytes = 1 << 30, .now = 60};
  EXPECT_EQ(index.make_room(entry({1}), plenty), StateIds{77});
  EXPECT_EQ(index.over_budget(plenty), StateIds{});
  index.add(1'000'000, entry({1}, 10, 60));
  EXPECT_EQ(index.over_budget(plenty), StateIds{77});
}

}  // namespace
}  // namespace glowplug::models
