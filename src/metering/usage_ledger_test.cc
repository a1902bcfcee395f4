#include "metering/usage_ledger.h"

#include <gmock/gmock.h>

#include "metering/test_ledger.h"

namespace glowplug::metering {
namespace {

using namespace std::chrono_literals;
using testing::SizeIs;

class UsageLedgerTest : public LedgerTest {
 protected:
  UsageLedgerTest() {
    manifest_.name = "chat";
    open();
  }
  void open() {
    ledger_.reset();
    ledger_ = std::make_unique<UsageLedger>(UsageLedger::Parts{
        .clock = clock_,
        .meter = meter_,
        .log = *log_,
        .read = [this](UsageLog::Work work, auto done) { done(work(state_->database)); },
        .warn = [this](const std::string& line) { told_.push_back(line); }});
    ASSERT_TRUE(ledger_->recover([this](const UsageLog::Work& work) { return run(work); }));
  }
  void grant(const std::string& request, std::uint64_t call, Book book = Book::UsageLog) {
    if (call == 1)
      meter_.started({.process = {1}, .function = "chat", .devices = {}, .bytes = 0}, clock_.now());
    meter_.granted({call}, {1}, 1, clock_.now());
    domain::PhaseTimes waited;
    waited[domain::Phase::Queue] = 5ms;
    ledger_->granted({.request = request,
                      .manifest = manifest_,
                      .revision = 3,
                      .call = {call},
                      .cold = true,
                      .waited = waited,
                      .book = book});
  }
  std::optional<domain::Receipt> close(const std::string& request) {
    return ledger_->close(
        {.request = request, .terminal = "completed", .status = 200, .completion_tokens = 4});
  }
  std::optional<storage::UsageRow> find(const std::string& request) {
    std::optional<storage::UsageRow> found;
    ledger_->find(request, [&found](Result<std::optional<storage::UsageRow>> row) {
      ASSERT_TRUE(row);
      found = *row;
    });
    turn();
    return found;
  }

  ManualClock clock_;
  Meter meter_{{{.name = "CPU", .type = "CPU"}},
               {{"CPU", {.per_hour = {360'000'000}, .per_request = {10}}}},
               Time{}};
  std::vector<std::string> told_;
  domain::Manifest manifest_;
  std::unique_ptr<UsageLedger> ledger_;
};

TEST_F(UsageLedgerTest, Call_HasItsIntentBeforeAndItsRowAfter) {
  grant("req_1", 1);
  EXPECT_EQ(log_->counts().open, 1U);
  EXPECT_FALSE(find("req_1"));
  clock_.advance(1s);
  const auto receipt = close("req_1");
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->cost, domain::Money{100'010});
  EXPECT_EQ(receipt->revision, 3);
  EXPECT_TRUE(receipt->cold);
  EXPECT_EQ(receipt->phases[domain::Phase::Queue], Duration(5ms));
  const auto row = find("req_1");
  ASSERT_TRUE(row);
  EXPECT_EQ(row->cost_micros, 100'010);
  EXPECT_EQ(row->completion_tokens, 4);
  EXPECT_EQ(ledger_->totals().at("chat").cost_micros, 100'010);
  EXPECT_FALSE(close("req_1"));  // its account is closed
}

TEST_F(UsageLedgerTest, CallThatNoReplicaHad_HasNoAccount) {
  EXPECT_FALSE(close("req_1"));
  EXPECT_TRUE(ledger_->totals().empty());
}

TEST_F(UsageLedgerTest, JobsAttempt_HasAReceipt_AndIsLeftToItsJob) {
  grant("req_1", 1, Book::Job);
  clock_.advance(1s);
  const auto receipt = close("req_1");
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->cost, domain::Money{100'010});
  EXPECT_EQ(log_->counts().bytes, 0U);
  EXPECT_FALSE(find("req_1"));
  EXPECT_EQ(ledger_->budgets().spent("chat", clock_.wall_now()), domain::Money{100'010});
}

TEST_F(UsageLedgerTest, DaysBudget_IsSpentByReceipts_AndSurvivesARestart) {
  manifest_.scale.budget.per_day = {100'000};
  grant("req_1", 1);
  EXPECT_TRUE(ledger_->may_call(manifest_));
  clock_.advance(1s);
  ASSERT_TRUE(close("req_1"));
  EXPECT_THAT(told_, SizeIs(1));
  EXPECT_EQ(ledger_->may_call(manifest_).error().code, "insufficient_quota");
  open_log();  // killed before it was folded
  open();
  EXPECT_EQ(ledger_->may_call(manifest_).error().code, "insufficient_quota");
  clock_.advance(24h);
  EXPECT_TRUE(ledger_->may_call(manifest_));
}

TEST_F(UsageLedgerTest, Sums_HoldWhatHasJustEnded) {
  grant("req_1", 1);
  ASSERT_TRUE(close("req_1"));
  grant("req_2", 2);
  ASSERT_TRUE(close("req_2"));
  std::vector<storage::UsageSum> sums;
  ledger_->sums({.by_function = true}, [&sums](Result<std::vector<storage::UsageSum>> found) {
    ASSERT_TRUE(found);
    sums = *found;
  });
  turn();
  ASSERT_THAT(sums, SizeIs(1));
  EXPECT_EQ(sums[0].function, "chat");
  EXPECT_EQ(sums[0].requests, 2);
}

}  // namespace
}  // namespace glowplug::metering
