#include "policy/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "domain/limits.h"

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::Priority;
using ::testing::ElementsAre;

constexpr Time at(Duration since_start) { return Time(since_start); }

TEST(StartOrder, MostWorkForTheCostOfAStart_ComesFirst) {
  const std::vector<Contender> contenders{
      {.since = at(1s), .waiting = 1, .start_cost = 1s},
      {.since = at(2s), .waiting = 8, .start_cost = 1s},
      {.since = at(3s), .waiting = 1, .start_cost = 20ms},
      {.since = at(4s), .waiting = 1}};  // not known: as cheap as a fork
  EXPECT_THAT(start_order(contenders, at(5s)), ElementsAre(3, 2, 1, 0));
}

TEST(StartOrder, Equals_GoByTheirWaitAndThenByTheirPlace) {
  const std::vector<Contender> contenders{{.since = at(2s), .waiting = 1},
                                          {.since = at(1s), .waiting = 1},
                                          {.since = at(2s), .waiting = 1}};
  EXPECT_THAT(start_order(contenders, at(3s)), ElementsAre(1, 0, 2));
  EXPECT_TRUE(start_order({}, at(3s)).empty());
}

TEST(StartOrder, Priority_ComesBeforeWork) {
  const std::vector<Contender> contenders{
      {.priority = Priority::Batch, .since = at(1s), .waiting = 50},
      {.priority = Priority::Normal, .since = at(1s), .waiting = 2},
      {.priority = Priority::High, .since = at(2s), .waiting = 1}};
  EXPECT_THAT(start_order(contenders, at(3s)), ElementsAre(2, 1, 0));
}

TEST(StartOrder, Starving_ComesBeforeAllElse) {
  const std::vector<Contender> contenders{
      {.priority = Priority::High, .since = at(9s), .waiting = 50},
      {.priority = Priority::Batch, .since = at(2s), .waiting = 1, .start_cost = 30s},
      {.priority = Priority::Normal, .since = at(1s), .waiting = 1}};
  EXPECT_THAT(start_order(contenders, at(12s - 1ns)), ElementsAre(2, 0, 1));
  EXPECT_THAT(start_order(contenders, at(12s)), ElementsAre(2, 1, 0));
}

TEST(Residency, IsFourTimesTheStart_WithinBounds) {
  EXPECT_EQ(residency(0s), domain::kTurn);
  EXPECT_EQ(residency(500ms), 2s);
  EXPECT_EQ(residency(1s), 4s);
  EXPECT_EQ(residency(1min), kStarving);
}

class GiveWay : public ::testing::Test {
 protected:
  std::optional<std::uint64_t> chosen(Time now) const {
    const auto replica = choose_to_give_way(residents, contender, now);
    return replica ? std::optional(replica->value) : std::nullopt;
  }
  Contender contender{.since = at(100s), .waiting = 1, .start_cost = 500ms};
  std::vector<Resident> residents{
      {.replica = {1}, .ready = at(99s), .last_granted = at(101s), .start_cost = 1s}};
};

TEST_F(GiveWay, AfterATurnAndItsResidency) {
  EXPECT_EQ(chosen(at(102s - 1ns)), std::nullopt) << "the contender has waited less than a turn";
  EXPECT_EQ(chosen(at(105s - 1ns)), std::nullopt) << "it has served for less than 4 x 1.5 s";
  EXPECT_EQ(chosen(at(105s)), 1u);
}

TEST_F(GiveWay, NextTurn_IsWhenItIsWorthAskingAgain) {
  EXPECT_EQ(next_turn(residents, contender, at(101s)), at(105s));
  EXPECT_EQ(next_turn(residents, contender, at(105s)), std::nullopt);
  residents[0].ready = at(50s);
  EXPECT_EQ(next_turn(residents, contender, at(101s)), at(102s)) << "a turn is waited for";
  residents[0].ready = at(109s);
  EXPECT_EQ(next_turn(residents, contender, at(109s)), at(110s)) << "then it starves";
  EXPECT_EQ(next_turn({}, contender, at(101s)), std::nullopt);
}

TEST_F(GiveWay, Starving_WaitsForNoResidency) {
  residents[0].ready = at(109s);
  residents[0].start_cost = 30s;
  EXPECT_EQ(chosen(at(110s - 1ns)), std::nullopt);
  EXPECT_EQ(chosen(at(110s)), 1u);
}

TEST_F(GiveWay, OfSeveral_LowPriorityThenTheOneGrantedLongestAgo) {
  residents = {{.replica = {1}, .last_granted = at(50s)},
               {.replica = {2}, .last_granted = at(40s)},
               {.replica = {3}, .priority = Priority::Batch, .last_granted = at(60s)},
               {.replica = {4}, .priority = Priority::High, .last_granted = at(1s)}};
  EXPECT_EQ(chosen(at(105s)), 3u);
  residents.erase(residents.begin() + 2);
  EXPECT_EQ(chosen(at(105s)), 2u);
  residents.clear();
  EXPECT_EQ(chosen(at(105s)), std::nullopt);
}

class Between : public GiveWay {
 protected:
  Between() {
    residents[0].idle_since = at(101s);
    residents[0].pauses.mean = 200ms;
  }
  bool stays(Time now) const { return keeps_its_turn(residents[0], contender, 1s, now); }
  std::optional<Time> ends(Time now) const { return pause_end(residents[0], contender, now); }
};

TEST_F(Between, ItStaysForTwiceItsUsualPause) {
  EXPECT_TRUE(stays(at(101s)));
  EXPECT_TRUE(stays(at(101'400ms - 1ns)));
  EXPECT_FALSE(stays(at(101'400ms)));
  EXPECT_EQ(ends(at(101s)), at(101'400ms));
  EXPECT_EQ(ends(at(101'400ms)), std::nullopt);
  residents[0].pauses.mean = 0ms;
  EXPECT_TRUE(stays(at(101'010ms - 1ns))) << "a word takes its time";
  EXPECT_FALSE(stays(at(101'010ms)));
}

TEST_F(Between, NotWhereItHasWork_NorWhereNothingIsKnown_NorWhereAStartIsShorter) {
  residents[0].idle_since.reset();
  EXPECT_FALSE(stays(at(101s))) << "that has work is kept by others";
  residents[0].idle_since = at(101s);
  residents[0].pauses.mean.reset();
  EXPECT_FALSE(stays(at(101s)));
  residents[0].pauses.mean = 500ms;
  EXPECT_TRUE(stays(at(101s)));
  residents[0].pauses.mean = 501ms;
  EXPECT_FALSE(stays(at(101s)));
}

TEST_F(Between, NoLongerThanItsTurn_NorBeforeOneThatStarves) {
  residents[0].idle_since = at(104'900ms);
  EXPECT_TRUE(stays(at(105s - 1ns)));
  EXPECT_FALSE(stays(at(105s))) << "4 x 1.5 s after it was ready";
  EXPECT_EQ(ends(at(104'950ms)), at(105s));
  residents[0].ready = at(109s);
  residents[0].idle_since = at(109'900ms);
  EXPECT_TRUE(stays(at(110s - 1ns)));
  EXPECT_EQ(ends(at(110s - 1ns)), at(110s));
  EXPECT_FALSE(stays(at(110s)));
}

TEST_F(Between, PriorityIsNotKeptWaiting) {
  contender.priority = Priority::High;
  EXPECT_FALSE(stays(at(101s)));
  residents[0].priority = Priority::High;
  EXPECT_TRUE(stays(at(101s)));
  contender.priority = Priority::Batch;
  EXPECT_TRUE(stays(at(101s)));
}

TEST(Pause, IsARunningMeanInWhichLongOnesCountTenSeconds) {
  Pauses pauses;
  note_pause(pauses, 1h);
  EXPECT_EQ(pauses.mean, 10s);
  note_pause(pauses, 2s);
  EXPECT_EQ(pauses.mean, 8s);
  note_pause(pauses, 0s);
  EXPECT_EQ(pauses.mean, 6s);
}

TEST(Claim, HoldsFromTenSecondsOnForTen_AndAgainAfterTen) {
  const Time since(100s);
  const auto has = [since](Duration waited) { return has_claim(since, since + waited); };
  EXPECT_FALSE(has(-1s));
  EXPECT_FALSE(has(10s - 1ns));
  EXPECT_TRUE(has(10s));
  EXPECT_TRUE(has(20s - 1ns));
  EXPECT_FALSE(has(20s));
  EXPECT_FALSE(has(30s - 1ns));
  EXPECT_TRUE(has(30s));
  EXPECT_EQ(next_claim_change(since, since), since + 10s);
  EXPECT_EQ(next_claim_change(since, since + 10s), since + 20s);
  EXPECT_EQ(next_claim_change(since, since - 30s), since + 10s);
}

}  // namespace
}  // namespace glowplug::policy
