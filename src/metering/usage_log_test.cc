#include "metering/usage_log.h"

#include <algorithm>
#include <csignal>
#include <fstream>

#include <gmock/gmock.h>
#include <sys/resource.h>

#include "base/read_file.h"
#include "metering/test_ledger.h"

namespace glowplug::metering {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

const Error kBroken{"storage_failed", "no", {}};

class UsageLogTest : public LedgerTest {};

TEST_F(UsageLogTest, ClosedCall_IsAskedToBeFolded_AndIsARowThen) {
  call("req_1", 5);
  call("req_2", 7);
  EXPECT_EQ(wanted_, 1);
  EXPECT_EQ(total().requests, 0);
  fold();
  EXPECT_EQ(total().requests, 2);
  EXPECT_EQ(total().cost_micros, 12);
  call("req_3", 1);
  EXPECT_EQ(wanted_, 2);
  fold();
  EXPECT_EQ(total().cost_micros, 13);
  fold();  // there is nothing
  EXPECT_EQ(total().requests, 3);
}

TEST_F(UsageLogTest, KilledServer_WhatIsClosedIsThere_WhatRanIsLostAndCostsNothing) {
  call("req_1", 5);
  fold();
  call("req_2", 7);
  log_->begin({"req_3", "chat", 1, WallTime{}});
  open_log();
  ASSERT_TRUE(recover());
  EXPECT_EQ(total().requests, 3);
  EXPECT_EQ(total().cost_micros, 12);
  EXPECT_EQ((*storage::find_usage(state_->database, "req_3"))->terminal, "lost");
  EXPECT_THAT(files(), IsEmpty());
}

// Each place a kill may have cut the log at, and the database folded up to any earlier one.
TEST_F(UsageLogTest, AnyPrefixOfALog_ReplayedTwice_LeavesTheSumsUnchanged) {
  for (int i = 1; i <= 4; ++i) call("req_" + std::to_string(i), i);
  log_->begin({"req_5", "chat", 1, WallTime{}});
  const std::string name = files().at(0);
  const std::string whole = read_text(name);
  const auto lines = static_cast<std::size_t>(std::count(whole.begin(), whole.end(), '\n'));
  ASSERT_EQ(lines, 9U);
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    ASSERT_TRUE(state_->database.execute("DELETE FROM usage"));
    storage::UsageSum once;
    for (int time = 0; time < 2; ++time) {
      std::ofstream(name, std::ios::trunc) << whole.substr(0, cut);
      open_log();
      ASSERT_TRUE(recover());
      if (time == 0) once = total();
    }
    ASSERT_EQ(total(), once) << cut;
    // The rest turns up after all: no call is lost that has ended in it, and none is paid twice.
    std::ofstream(name, std::ios::trunc) << whole;
    open_log();
    ASSERT_TRUE(recover());
    ASSERT_EQ(total().cost_micros, 10) << cut;
    ASSERT_EQ(total().requests, 5) << cut;
  }
}

TEST_F(UsageLogTest, KillWhileFolding_FoldsTheRestAtTheNextStart) {
  call("req_1", 5);
  fold();
  call("req_2", 7);
  log_->fold();                              // posted,
  ASSERT_TRUE(run(waiting_.front().first));  // and on the disk, but nobody has heard of it
  open_log();
  ASSERT_TRUE(recover());
  EXPECT_EQ(total().cost_micros, 12);
  EXPECT_EQ(total().requests, 2);
}

TEST_F(UsageLogTest, DatabaseThatCannotBeWritten_TheLogStays_AndIsFoldedLater) {
  database_fault_ = kBroken;
  call("req_1", 5);
  fold();
  EXPECT_EQ(wanted_, 2);  // again, later
  call("req_2", 7);
  fold();
  EXPECT_EQ(log_->counts().failed_folds, 2U);
  EXPECT_GT(log_->counts().bytes, 100U);
  database_fault_.reset();
  fold();
  EXPECT_EQ(total().cost_micros, 12);
}

TEST_F(UsageLogTest, RecoveryThatFails_IsTriedAgainBeforeAnythingIsFolded) {
  call("req_1", 5);
  open_log();
  database_fault_ = kBroken;
  EXPECT_FALSE(recover());
  EXPECT_THAT(files(), SizeIs(1));
  call("req_2", 7);
  fold();
  EXPECT_THAT(files(), SizeIs(2));
  database_fault_.reset();
  fold();
  EXPECT_EQ(total().cost_micros, 12);
  EXPECT_THAT(files(), SizeIs(1));
}

TEST_F(UsageLogTest, FullSegment_GoesOnceItIsFoldedAndItsCallsHaveEnded) {
  log_->begin({"req_long", "chat", 1, WallTime{}});
  for (int i = 0; i < 4'000; ++i) call("req_" + std::to_string(i), 1);
  EXPECT_GE(files().size(), 2U);
  int asked = 0;
  do {  // a step ends where its segment does; for what little is left then it asks again
    asked = wanted_;
    fold();
  } while (wanted_ > asked);
  EXPECT_EQ(total().requests, 4'000);
  EXPECT_GE(files().size(), 2U);  // the first one tells that req_long has begun
  log_->close(row_of("req_long", 1));
  fold();
  EXPECT_THAT(files(), SizeIs(1));
  EXPECT_EQ(total().requests, 4'001);
  EXPECT_EQ(log_->counts().open, 0U);
  open_log();
  ASSERT_TRUE(recover());
  EXPECT_EQ(total().cost_micros, 4'001);
}

TEST_F(UsageLogTest, NameOfASegmentThatIsGone_IsUsedAnewFromItsBeginning) {
  call("req_1", 5);
  fold();
  open_log();
  ASSERT_TRUE(recover());
  call("req_2", 7);  // in a file of the same name
  fold();
  EXPECT_EQ(total().cost_micros, 12);
}

TEST_F(UsageLogTest, WhenFolded_ComesAfterTheRowsOfAllThatIsClosed) {
  call("req_1", 5);
  std::vector<std::int64_t> seen;
  log_->when_folded([&](const Result<void>& outcome) {
    EXPECT_TRUE(outcome);
    seen.push_back(total().cost_micros);
  });
  EXPECT_THAT(seen, IsEmpty());
  turn();
  EXPECT_THAT(seen, testing::ElementsAre(5));
  log_->when_folded([&](const Result<void>&) { seen.push_back(-1); });  // nothing to wait for
  EXPECT_THAT(seen, testing::ElementsAre(5, -1));
  database_fault_ = kBroken;
  call("req_2", 7);
  log_->when_folded([&](const Result<void>& outcome) { seen.push_back(outcome ? 1 : 0); });
  turn();
  EXPECT_EQ(seen.back(), 0);
}

TEST_F(UsageLogTest, WhenFolded_WhileAFoldRuns_WaitsForTheNextOneToo) {
  call("req_1", 5);
  log_->fold();
  call("req_2", 7);
  std::int64_t seen = 0;
  log_->when_folded([&](const Result<void>&) { seen = total().cost_micros; });
  turn();
  EXPECT_EQ(seen, 12);
}

TEST_F(UsageLogTest, DamagedLine_IsCountedAndTheOthersAreFolded) {
  call("req_1", 5);
  call("req_2", 7);
  const std::string name = files().at(0);
  std::string text = read_text(name);
  text[text.find("req_1\",\"job")] = 'X';
  std::ofstream(name, std::ios::in | std::ios::out) << text;
  fold();
  EXPECT_EQ(total().cost_micros, 7);
  EXPECT_EQ(log_->counts().damaged, 1U);
}

// A full disk, as the limit on the size of files shows it: a line is cut, the rest waits in memory.
TEST_F(UsageLogTest, DiskThatIsFull_CutsALine_NothingIsLostOnceThereIsRoom) {
  call("req_1", 5);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto ignored = std::signal(SIGXFSZ, SIG_IGN);
  rlimit tight = before;
  tight.rlim_cur = log_->counts().bytes + 10;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  call("req_2", 7);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, ignored);
  EXPECT_EQ(log_->counts().failed_writes, 2U);
  call("req_3", 9);
  fold();
  EXPECT_EQ(total().cost_micros, 21);
  EXPECT_EQ(log_->counts().damaged, 1U);  // the cut line; it was written again
  EXPECT_EQ(log_->counts().dropped, 0U);
  EXPECT_EQ(log_->counts().open, 0U);
}

}  // namespace
}  // namespace glowplug::metering
