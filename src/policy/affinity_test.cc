#include "policy/affinity.h"

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using domain::PromptLinks;

// Messages of 1,000 bytes each.
PromptLinks prompt(std::initializer_list<std::uint64_t> messages) {
  PromptLinks links;
  std::uint64_t hash = 1;
  for (const std::uint64_t one : messages) {
    hash = hash * 1'000'003 + one;
    links.push_back({hash, (links.size() + 1) * 1000});
  }
  return links;
}

std::optional<std::uint64_t> chosen(std::initializer_list<FreeReplica> free) {
  const auto one = choose_replica(std::vector<FreeReplica>(free));
  return one ? std::optional(one->value) : std::nullopt;
}

TEST(HeldPrompts, ShareAsFarAsMessagesAreTheSame) {
  HeldPrompts held;
  EXPECT_EQ(held.shared_bytes(prompt({1, 2})), 0u);
  held.note(prompt({1, 2, 3}), 4);
  EXPECT_EQ(held.shared_bytes(prompt({1, 2, 3, 4})), 3000u);
  EXPECT_EQ(held.shared_bytes(prompt({1, 2, 9})), 2000u);
  EXPECT_EQ(held.shared_bytes(prompt({9, 2, 3})), 0u);
  EXPECT_EQ(held.shared_bytes({}), 0u);
}

TEST(HeldPrompts, AsManyAsSlots_TheOldestGoes) {
  HeldPrompts held;
  held.note(prompt({1}), 2);
  held.note(prompt({2}), 2);
  held.note(prompt({3}), 2);
  EXPECT_EQ(held.shared_bytes(prompt({1})), 0u);
  EXPECT_EQ(held.shared_bytes(prompt({2})), 1000u);
  EXPECT_EQ(held.shared_bytes(prompt({3})), 1000u);
}

TEST(HeldPrompts, ConversationThatGoesOn_TakesItsOwnPlace) {
  HeldPrompts held;
  held.note(prompt({1}), 2);
  held.note(prompt({2}), 2);
  held.note(prompt({1, 5, 6}), 2);
  held.note({}, 2);  // a call without a prompt leaves all as it is
  EXPECT_EQ(held.shared_bytes(prompt({2})), 1000u);
  EXPECT_EQ(held.shared_bytes(prompt({1, 5, 6, 7})), 3000u);
  held.note(prompt({3}), 2);
  EXPECT_EQ(held.shared_bytes(prompt({2})), 0u);
}

TEST(HeldPrompts, OfTwoThatItGoesOnFrom_TheLongerOneMakesPlace) {
  HeldPrompts held;
  held.note(prompt({1, 9}), 3);
  held.note(prompt({1}), 3);
  held.note(prompt({1, 2}), 3);  // in the place of {1}
  held.note(prompt({1}), 3);
  held.note(prompt({1, 2, 3}), 3);  // in the place of {1, 2}
  EXPECT_EQ(held.shared_bytes(prompt({1, 9})), 2000u);
  held.note(prompt({5}), 3);
  EXPECT_EQ(held.shared_bytes(prompt({1, 9})), 1000u);  // it was the oldest
  EXPECT_EQ(held.shared_bytes(prompt({1, 2, 3})), 3000u);
}

TEST(ChooseReplica, LeastWork_ThenTheFirst) {
  EXPECT_EQ(chosen({}), std::nullopt);
  EXPECT_EQ(chosen({{{1}, true, false, 2}, {{2}, true, false, 1}}), 2u);
  EXPECT_EQ(chosen({{{2}, true, false, 1}, {{1}, true, false, 1}}), 1u);
}

TEST(ChooseReplica, PromptThatIsHeld_OutweighsWork) {
  EXPECT_EQ(chosen({{{1}, true, false, 3, 512}, {{2}, true, false, 0, 0}}), 1u);
  EXPECT_EQ(chosen({{{1}, true, false, 3, 511}, {{2}, true, false, 0, 0}}), 2u);
  EXPECT_EQ(chosen({{{1}, true, false, 0, 600}, {{2}, true, false, 3, 5000}}), 2u);
  EXPECT_EQ(chosen({{{1}, true, false, 3, 5100}, {{2}, true, false, 0, 5000}}), 2u);  // as good
}

TEST(ChooseReplica, CallersOwnFirst_RetiredLast) {
  EXPECT_EQ(chosen({{{1}, false, false, 0, 0}, {{2}, true, false, 3, 0}}), 2u);
  EXPECT_EQ(chosen({{{1}, true, true, 0, 9000}, {{2}, true, false, 3, 0}}), 2u);
  EXPECT_EQ(chosen({{{1}, true, true, 0, 0}}), 1u);
}

}  // namespace
}  // namespace glowplug::policy
