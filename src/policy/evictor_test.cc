#include "policy/evictor.h"

#include <cmath>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using Ids = std::vector<std::uint64_t>;

Kept kept(std::uint64_t id, std::uint64_t bytes, Duration saves, double likely, int used_s = 0) {
  return {.process = {id},
          .bytes = bytes,
          .saves = saves,
          .log2_likely = std::log2(likely),
          .last_used = Time(std::chrono::seconds(used_s))};
}

Ids ids(const std::vector<Kept>& kept) {
  Ids found;
  for (const Kept& one : kept) found.push_back(one.process.value);
  return found;
}

Ids order(const std::vector<Kept>& idle) { return ids(eviction_order(idle)); }

std::optional<Ids> evicted(const std::vector<Kept>& idle, std::uint64_t bytes) {
  const auto chosen = choose_evictions(idle, bytes);
  return chosen ? std::optional(ids(*chosen)) : std::nullopt;
}

TEST(Visits, EachCounts_AndHalfAsMuchAfter64OfAnybody) {
  Visits visits;
  EXPECT_EQ(log2_likely(visits, 5), -INFINITY);
  note_visit(visits, 10);
  EXPECT_DOUBLE_EQ(visits.count, 1);
  EXPECT_NEAR(log2_likely(visits, 74) - log2_likely(visits, 10), -1, 1e-9);
  note_visit(visits, 74);
  EXPECT_DOUBLE_EQ(visits.count, 1.5);
}

TEST(Visits, SharesOfAllFunctions_AddUpToOne) {
  Visits often, seldom;
  for (std::uint64_t i = 1; i <= 10'000; ++i) note_visit(i % 4 == 0 ? seldom : often, i);
  const double a = std::exp2(log2_likely(often, 10'000));
  const double b = std::exp2(log2_likely(seldom, 10'000));
  EXPECT_NEAR(a + b, 1, 1e-9);
  EXPECT_NEAR(a, 0.75, 0.01);
}

TEST(Visits, LongAgo_IsStillMoreLikelyThanLongerAgo) {
  Visits early, late;
  note_visit(early, 1);
  note_visit(late, 2);
  EXPECT_GT(log2_likely(late, 10'000'000), log2_likely(early, 10'000'000));
  EXPECT_TRUE(std::isfinite(log2_likely(early, 10'000'000)));
}

TEST(Evictor, LeastWorthFirst_ByChanceTimeSavedAndBytes) {
  EXPECT_EQ(order({kept(1, 100, 1s, 0.2), kept(2, 100, 1s, 0.1)}), (Ids{2, 1}));
  EXPECT_EQ(order({kept(1, 100, 2s, 0.1), kept(2, 100, 1s, 0.1)}), (Ids{2, 1}));
  EXPECT_EQ(order({kept(1, 100, 1s, 0.1), kept(2, 200, 1s, 0.1)}), (Ids{2, 1}));
  EXPECT_EQ(order({kept(1, 100, 10ms, 0.9), kept(2, 100, 3s, 0.01)}), (Ids{1, 2}));
}

TEST(Evictor, OfEqualWorth_TheLeastRecentlyUsed) {
  EXPECT_EQ(order({kept(1, 100, 1s, 0.1, 30), kept(2, 100, 1s, 0.1, 10)}), (Ids{2, 1}));
  EXPECT_EQ(order({kept(1, 100, 1s, 0, 30), kept(2, 100, 9s, 0, 10)}), (Ids{2, 1}));  // no visit
  EXPECT_EQ(order({kept(2, 100, 1s, 0.1), kept(1, 100, 1s, 0.1)}), (Ids{1, 2}));
}

TEST(Evictor, WhatIsHeld_ComesAfterAllElse) {
  Kept held = kept(1, 100, 10ms, 0.01);
  held.is_held = true;
  EXPECT_EQ(order({held, kept(2, 1, 9s, 0.9)}), (Ids{2, 1}));
}

TEST(Evictor, TemplateComesAfterWhatWasForkedFromIt) {
  Kept base = kept(1, 500, 1s, 0.001);
  base.layer = Layer::Base;
  Kept primed = kept(2, 50, 300ms, 0.001);
  primed.layer = Layer::Primed;
  primed.from = primed.base = base.process;
  Kept fork = kept(3, 10, 10ms, 0.9);
  fork.from = primed.process;
  fork.base = base.process;
  const Kept other = kept(4, 10, 10ms, 0.1);
  EXPECT_EQ(order({base, primed, fork, other}), (Ids{4, 3, 2, 1}));
  fork.is_held = true;
  EXPECT_EQ(order({base, primed, fork, other}), (Ids{4, 3, 2, 1}));
  EXPECT_EQ(order({base, fork, kept(5, 10, 9s, 1)}), (Ids{5, 3, 1}));
}

TEST(Evictor, AsMuchAsIsNeeded_AndNothingWhereAllIsNotEnough) {
  const std::vector all{kept(1, 100, 1s, 0.3), kept(2, 100, 1s, 0.1)};
  EXPECT_EQ(evicted(all, 0), Ids{});
  EXPECT_EQ(evicted(all, 100), Ids{2});
  EXPECT_EQ(evicted(all, 101), (Ids{2, 1}));
  EXPECT_EQ(evicted(all, 201), std::nullopt);
  EXPECT_EQ(evicted({}, 1), std::nullopt);
}

TEST(Evictor, WhatALaterOneMakesNeedless_Stays) {
  const std::vector all{kept(1, 10, 1s, 0.001), kept(2, 20, 1s, 0.01), kept(3, 1000, 9s, 0.9)};
  EXPECT_EQ(order(all), (Ids{1, 2, 3}));
  EXPECT_EQ(evicted(all, 500), Ids{3});
  EXPECT_EQ(evicted(all, 1005), (Ids{1, 3}));
}

TEST(Evictor, ForkStays_OnlyWhereItsTemplateDoes) {
  Kept base = kept(1, 1000, 1s, 0.1);
  base.layer = Layer::Base;
  Kept fork = kept(2, 10, 10ms, 0.1);
  fork.from = fork.base = base.process;
  EXPECT_EQ(evicted({base, fork}, 500), (Ids{2, 1}));
}

TEST(Evictor, SaysWhatItIsWorth) {
  EXPECT_EQ(worth_in_words(kept(1, 100, 1500ms, 0.125)),
            "it saves 1.5 s at a start, 12 % likely to be next");
  EXPECT_EQ(worth_in_words(kept(1, 100, 0s, 0)),
            "it saves 0.0 ms at a start, 0 % likely to be next");
}

}  // namespace
}  // namespace glowplug::policy
