#include "metering/budget_book.h"

#include <gmock/gmock.h>

namespace glowplug::metering {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr WallTime kMorning{std::chrono::milliseconds(1'795'824'000'000)};  // 2026-11-28 00:00 UTC

class BudgetBookTest : public testing::Test {
 protected:
  BudgetBookTest() : book_([this](const std::string& line) { told_.push_back(line); }) {
    chat_.name = "chat";
    chat_.scale.budget.per_day = {1'000};
  }
  void add(std::int64_t micros, WallTime now = kMorning) {
    book_.add("chat", {micros}, chat_.scale.budget.per_day, now);
  }

  std::vector<std::string> told_;
  BudgetBook book_;
  domain::Manifest chat_;
};

TEST_F(BudgetBookTest, MostSpent_IsToldOnce_AllSpent_RefusesUntilTheDayIsOver) {
  add(799);
  EXPECT_THAT(told_, IsEmpty());
  add(1);
  add(1);
  EXPECT_THAT(told_, ElementsAre("`chat` has cost 0.000800 today, and scale.budget.per_day is "
                                 "0.001000"));
  EXPECT_TRUE(book_.may_call(chat_, kMorning));
  add(199);
  EXPECT_THAT(told_, SizeIs(2));
  EXPECT_THAT(told_[1], HasSubstr("its calls are refused until the day (UTC) is over"));
  const auto refused = book_.may_call(chat_, kMorning + 18h + 30min + 1s);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "insufficient_quota");
  EXPECT_EQ(refused.error().message,
            "`chat` has cost 0.001000 today, and scale.budget.per_day is 0.001000; its calls are "
            "answered again after 00:00 UTC, in 5 h 30 min, or once the budget is raised.");
  EXPECT_TRUE(book_.may_call(chat_, kMorning + 24h));
  EXPECT_EQ(book_.spent("chat", kMorning + 24h), domain::Money{});
  EXPECT_THAT(told_, SizeIs(2));
}

TEST_F(BudgetBookTest, BudgetThatIsRaised_LetsCallsThroughAtOnce) {
  add(1'000);
  EXPECT_FALSE(book_.may_call(chat_, kMorning));
  chat_.scale.budget.per_day = {2'000};
  EXPECT_TRUE(book_.may_call(chat_, kMorning));
  chat_.scale.budget.per_day = {};
  EXPECT_TRUE(book_.may_call(chat_, kMorning));
}

TEST_F(BudgetBookTest, AfterARestart_TheLedgersSumCounts) {
  book_.restore("chat", {1'000}, kMorning);
  EXPECT_THAT(told_, IsEmpty());
  EXPECT_FALSE(book_.may_call(chat_, kMorning));
  EXPECT_THAT(told_, SizeIs(1));
  domain::Manifest other = chat_;
  other.name = "other";
  EXPECT_TRUE(book_.may_call(other, kMorning));
}

}  // namespace
}  // namespace glowplug::metering
