#include "worker/slot_book.h"

#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

using Tokens = std::vector<Token>;
using Keep = SlotBook::Keep;

// from, from + 1, …
Tokens run(Token from, int count) {
  Tokens tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(from + i);
  return tokens;
}

Tokens operator+(Tokens a, const Tokens& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(SharedPrefix, EndsAtTheFirstDifferenceOrTheShorter) {
  EXPECT_EQ(shared_prefix(Tokens{1, 2, 3}, Tokens{1, 2, 4}), 2u);
  EXPECT_EQ(shared_prefix(Tokens{1, 2}, Tokens{1, 2, 4}), 2u);
  EXPECT_EQ(shared_prefix(Tokens{}, Tokens{1}), 0u);
}

TEST(SlotBook, ConversationGoesOn_InTheSlotThatHoldsIt) {
  SlotBook book(3);
  book.holds(1, run(100, 50), Keep::Yes);
  const auto place = book.take(run(100, 50) + run(7, 5));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->slot, 1);
  EXPECT_EQ(place->shared, 50u);
}

TEST(SlotBook, NewPrompt_TakesAnEmptySlotBeforeAnother) {
  SlotBook book(3);
  book.holds(0, run(100, 50), Keep::Yes);
  book.holds(2, run(200, 50), Keep::Yes);
  EXPECT_EQ(book.take(run(300, 10))->slot, 1);
}

// Every prompt of a chat template begins alike.
TEST(SlotBook, FewTokensInCommon_DrawNoConversationIntoAnothersSlot) {
  SlotBook book(3);
  const Tokens head = run(1, 4);
  std::vector<int> slots;
  for (const Token from : {1000, 2000, 3000}) {
    const auto place = book.take(head + run(from, 300));
    ASSERT_TRUE(place);
    slots.push_back(place->slot);
    book.holds(place->slot, head + run(from, 300), Keep::Yes);
    book.give_back(place->slot);
  }
  EXPECT_EQ(slots, (std::vector{0, 1, 2}));
  EXPECT_EQ(book.take(head + run(4000, 300))->slot, 0);
}

TEST(SlotBook, WhereNoMoreIsLostThanShared_AShortConversationGivesWay) {
  SlotBook book(2);
  const Tokens head = run(1, 24), next = head + run(2000, 16);
  book.holds(0, head + run(1000, 24), Keep::Yes);
  const auto place = book.take(next);
  ASSERT_TRUE(place);
  EXPECT_EQ(place->slot, 0);
  EXPECT_EQ(place->shared, 24u);
  book.give_back(0);
  book.holds(0, head + run(1000, 25), Keep::Yes);
  EXPECT_EQ(book.take(next)->slot, 1);

  SlotBook whole(2, false);
  whole.holds(0, head + run(1000, 24), Keep::Yes);
  EXPECT_EQ(whole.take(next)->slot, 1) << "nothing of a slot that cannot be cut is of use";
}

TEST(SlotBook, AllHoldSomething_NewPromptTakesTheLeastRecentlyUsed) {
  SlotBook book(2);
  for (const int slot : {1, 0}) {
    book.take_slot(slot);
    book.holds(slot, run(100 * (slot + 1), 50), Keep::Yes);
    book.give_back(slot);
  }
  EXPECT_EQ(book.take(run(300, 10))->slot, 1);
}

TEST(SlotBook, PrimedSlots_AreTakenBeforeAConversationOnTheSamePrime) {
  SlotBook book(3);
  const Tokens prime = run(1, 40);
  book.holds(0, prime + run(500, 200), Keep::Yes);
  book.holds(1, prime, Keep::No);
  book.holds(2, prime, Keep::No);
  const auto place = book.take(prime + run(900, 5));
  EXPECT_NE(place->slot, 0);
  EXPECT_EQ(place->shared, 40u);
}

TEST(SlotBook, AFewTokensMoreInCommon_DoNotCostAConversation) {
  SlotBook book(2);
  const Tokens prime = run(1, 40);
  book.holds(0, prime + run(500, 200), Keep::Yes);
  book.holds(1, prime, Keep::No);
  EXPECT_EQ(book.take(prime + run(500, 4) + run(900, 5))->slot, 1);
  EXPECT_EQ(book.take(prime + run(500, 150) + run(900, 5))->slot, 0);
}

TEST(SlotBook, TakenSlots_AreNotTakenTwice) {
  SlotBook book(2);
  const auto one = book.take(run(1, 3)), two = book.take(run(1, 3));
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->slot, two->slot);
  EXPECT_FALSE(book.take(run(1, 3)));
  EXPECT_FALSE(book.take_slot(one->slot));
  book.give_back(one->slot);
  EXPECT_EQ(book.take(run(1, 3))->slot, one->slot);
}

TEST(Beginning, PromptsThatPartAfterIt_AreCountedOnce) {
  SlotBook book(1);
  const Tokens system = run(1, 300);
  book.holds(0, system + run(1000, 40), Keep::Yes);
  EXPECT_EQ(book.tell_beginning(0).tokens, 0u);
  book.holds(0, system + run(2000, 40), Keep::Yes);
  book.holds(0, system + run(3000, 40), Keep::Yes);
  SlotBook::Beginning told = book.tell_beginning(0);
  EXPECT_EQ(told.tokens, 300u);
  EXPECT_EQ(told.prompts, 3u);
  EXPECT_EQ(book.tell_beginning(0).prompts, 0u);
  book.holds(0, system + run(4000, 40), Keep::Yes);
  EXPECT_EQ(book.tell_beginning(0).prompts, 1u);
}

TEST(Beginning, ConversationThatGoesOn_TeachesNothing) {
  SlotBook book(1);
  const Tokens talk = run(1, 300);
  book.holds(0, talk, Keep::Yes);
  book.kept(0, talk + run(500, 10));
  book.holds(0, talk + run(500, 60), Keep::Yes);
  book.holds(0, talk + run(500, 60), Keep::Yes);
  EXPECT_EQ(book.tell_beginning(0).prompts, 0u);
}

TEST(Beginning, PromptThatIsNotToBeKept_TeachesNothing) {
  SlotBook book(1);
  const Tokens system = run(1, 300);
  book.holds(0, system + run(1000, 40), Keep::Yes);
  book.holds(0, system + run(2000, 40), Keep::No);
  EXPECT_EQ(book.tell_beginning(0).prompts, 0u);
}

TEST(WorthKeeping, LongFreeChangedAndAllowedOnes_Once) {
  SlotBook book(5);
  book.holds(0, run(1, 256), Keep::Yes);
  book.holds(1, run(1, 255), Keep::Yes);
  book.holds(2, run(1, 300), Keep::No);
  book.holds(3, run(1, 300), Keep::Yes);
  book.take_slot(3);
  EXPECT_EQ(book.worth_keeping(256), std::vector<int>{0});
  book.kept(0, run(1, 258));
  EXPECT_TRUE(book.is_kept(0));
  EXPECT_EQ(book.tokens(0).size(), 258u);
  EXPECT_TRUE(book.worth_keeping(256).empty());
  book.holds(0, run(1, 257), Keep::Yes);
  EXPECT_EQ(book.worth_keeping(256), std::vector<int>{0});
}

}  // namespace
}  // namespace glowplug::worker
