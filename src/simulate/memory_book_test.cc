#include "simulate/memory_book.h"

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

constexpr domain::ProcessId kBase{1}, kPrimed{2}, kFork{3}, kOther{4};
using Held = MemoryBook::Held;

TEST(MemoryBook, ForksShareTheirTemplatesPages) {
  MemoryBook book;
  book.add(kBase, 100, {});
  book.add(kFork, 10, kBase);
  book.add(kOther, 20, kBase);
  EXPECT_EQ(book.total(), 130u);
  EXPECT_EQ(book.held(kFork), (Held{.own = 10, .mapped = 110}));
  EXPECT_EQ(book.held(kBase), (Held{.own = 0, .mapped = 100}));
}

TEST(MemoryBook, TemplateThatEnds_LeavesItsPagesWithItsForks) {
  MemoryBook book;
  book.add(kBase, 100, {});
  book.add(kFork, 10, kBase);
  book.add(kOther, 20, kBase);
  book.remove(kBase);
  EXPECT_EQ(book.total(), 130u);
  EXPECT_EQ(book.held(kFork), (Held{.own = 10, .mapped = 110}));
  book.remove(kOther);
  EXPECT_EQ(book.held(kFork), (Held{.own = 110, .mapped = 110}));
  book.remove(kFork);
  EXPECT_EQ(book.total(), 0u);
}

TEST(MemoryBook, ForkOfAFork_MapsAllThree) {
  MemoryBook book;
  book.add(kBase, 100, {});
  book.add(kPrimed, 30, kBase);
  book.add(kFork, 5, kPrimed);
  EXPECT_EQ(book.held(kFork), (Held{.own = 5, .mapped = 135}));
  book.remove(kPrimed);
  EXPECT_EQ(book.held(kFork), (Held{.own = 35, .mapped = 135}));
  EXPECT_EQ(book.total(), 135u);
}

TEST(MemoryBook, OwnPages_GrowAndShrink) {
  MemoryBook book;
  book.add(kBase, 100, {});
  book.set(kBase, 40);
  EXPECT_EQ(book.total(), 40u);
  EXPECT_EQ(book.made(kBase), 40u);
  book.set(kFork, 7);  // not there
  book.remove(kFork);
  EXPECT_EQ(book.total(), 40u);
  EXPECT_EQ(book.held(kFork), Held{});
}

}  // namespace
}  // namespace glowplug::simulate
