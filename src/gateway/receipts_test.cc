#include "gateway/receipts.h"

#include <gmock/gmock.h>

#include "metering/test_ledger.h"

namespace glowplug::gateway {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class ReceiptsTest : public metering::LedgerTest {
 protected:
  ReceiptsTest()
      : ledger_({.clock = clock_,
                 .meter = meter_,
                 .log = *log_,
                 .read = [this](metering::UsageLog::Work work,
                                auto done) { done(work(state_->database)); },
                 .warn = [](const std::string&) {}}) {
    options_.usage = &ledger_;
    grant_.manifest.name = "chat";
    grant_.call = {1};
    meter_.started({.process = {1}, .function = "chat", .devices = {}, .bytes = 0}, clock_.now());
  }
  std::optional<domain::Receipt> one_second(const std::string& request, CallFate fate,
                                            policy::Payer gone_payer = policy::Payer::Caller) {
    meter_.granted(grant_.call, {1}, 1, clock_.now());
    open_account(options_, request, grant_, metering::Book::UsageLog);
    clock_.advance(1s);
    ++grant_.call.value;
    return close_account(options_, {.request = request,
                                    .fate = fate,
                                    .status = 200,
                                    .phases = phases_,
                                    .usage = usage_,
                                    .gone_payer = gone_payer});
  }

  ManualClock clock_;
  metering::Meter meter_{{{.name = "CPU", .type = "CPU"}},
                         {{"CPU", {.per_hour = {360'000'000}, .per_request = {10}}}},
                         Time{}};
  metering::UsageLedger ledger_;
  GatewayOptions options_;
  control::Grant grant_;
  domain::PhaseTimes phases_;
  Usage usage_{.prompt_tokens = 7, .completion_tokens = 3};
};

TEST_F(ReceiptsTest, CallersPayForWhatTheyGotAndWhatTheyCut_ThePlatformForTheRest) {
  struct Case {
    CallFate fate;
    std::string_view terminal;
    std::int64_t cost, platform;
  };
  int number = 0;
  for (const Case& one : {Case{CallFate::Answered, "completed", 100'010, 0},
                          Case{CallFate::Cancelled, "cancelled", 100'010, 0},
                          Case{CallFate::Broken, "failed", 0, 100'000},
                          Case{CallFate::Refused, "failed", 0, 100'000}}) {
    const auto receipt = one_second("req_" + std::to_string(++number), one.fate);
    ASSERT_TRUE(receipt);
    EXPECT_EQ(receipt->terminal, one.terminal);
    EXPECT_EQ(receipt->cost.micros, one.cost) << one.terminal;
    EXPECT_EQ(receipt->platform.micros, one.platform) << one.terminal;
    EXPECT_EQ(receipt->completion_tokens, 3U);
  }
}

TEST_F(ReceiptsTest, AttemptThatTheQueueStops_IsThePlatforms) {
  const auto receipt = one_second("req_1", CallFate::Cancelled, policy::Payer::Platform);
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->terminal, "cancelled");
  EXPECT_EQ(receipt->cost.micros, 0);
  EXPECT_EQ(receipt->platform.micros, 100'000);
  EXPECT_EQ(ledger_.totals().at("chat").cost_micros, 0);
  EXPECT_EQ(one_second("req_2", CallFate::Answered, policy::Payer::Platform)->cost.micros, 100'010);
}

TEST_F(ReceiptsTest, CostIsSaidInUnits_AndNotOfWhatHasNoAccount) {
  EXPECT_EQ(cost_line(one_second("req_1", CallFate::Answered)), "x-glowplug-cost: 0.100010\r\n");
  EXPECT_EQ(cost_line(std::nullopt), "");
}

TEST_F(ReceiptsTest, UsageChunk_SaysWhatTheReceiptWillSay) {
  meter_.granted(grant_.call, {1}, 1, clock_.now());
  open_account(options_, "req_1", grant_, metering::Book::UsageLog);
  clock_.advance(1s);
  const boost::json::object told = cost_teller(options_, "req_1")();
  EXPECT_EQ(told.at("micros").as_int64(), 100'010);
  EXPECT_EQ(told.at("total").as_string(), "0.100010");
  clock_.advance(1s);
  const auto receipt = close_account(
      options_, {.request = "req_1", .status = 200, .phases = phases_, .usage = usage_});
  EXPECT_EQ(receipt->cost.micros, 100'010);
}

TEST_F(ReceiptsTest, WithoutALedger_NothingIsMetered) {
  options_.usage = nullptr;
  grant_.manifest.scale.budget.per_day = {1};
  EXPECT_TRUE(check_budget(options_, grant_.manifest));
  EXPECT_FALSE(one_second("req_1", CallFate::Answered));
  EXPECT_FALSE(cost_teller(options_, "req_1"));
}

TEST_F(ReceiptsTest, Metrics_HaveTheCostsAndTheBudgets) {
  grant_.manifest.scale.budget.per_day = {200'020};
  one_second("req_1", CallFate::Answered);
  one_second("req_2", CallFate::Broken);
  EXPECT_TRUE(check_budget(options_, grant_.manifest));
  MetricsText text(MetricsFormat::PrometheusText);
  write_usage(text, ledger_, clock_.wall_now());
  const std::string all = text.take();
  EXPECT_THAT(all, HasSubstr("glowplug_cost_micros_total{function=\"chat\"} 100010\n"));
  EXPECT_THAT(all, HasSubstr("glowplug_platform_cost_micros_total{function=\"chat\"} 100000\n"));
  EXPECT_THAT(all, HasSubstr("glowplug_usage_rows_total{function=\"chat\"} 2\n"));
  EXPECT_THAT(all, HasSubstr("glowplug_budget_spent_ratio{function=\"chat\"} 0.5\n"));
  one_second("req_3", CallFate::Answered);
  EXPECT_EQ(check_budget(options_, grant_.manifest).error().code, "insufficient_quota");
}

}  // namespace
}  // namespace glowplug::gateway
