#include "metering/meter.h"

#include <gtest/gtest.h>

namespace glowplug::metering {
namespace {

using namespace std::chrono_literals;
using policy::Payer;

constexpr domain::ProcessId kReplica{1}, kOther{2};
constexpr domain::CallId kA{1}, kB{2};
const std::string kChat = "chat", kRequest = "req_a", kRequestB = "req_b";

Time at(Duration since_start) { return Time{} + since_start; }

// A card and the CPU, at 1000 and 100 micro-units a millisecond.
class MeterTest : public testing::Test {
 protected:
  MeterTest()
      : meter_({{.name = "A10G:0", .type = "A10G"}, {.name = "CPU", .type = "CPU"}},
               {{"A10G", {.per_hour = {3'600'000'000}, .per_request = {200}}},
                {"cpu", {.per_hour = {360'000'000}, .per_request = {10}}}},
               at(0s)) {}

  void start(domain::ProcessId process, std::vector<domain::DeviceId> devices = {},
             const std::string& function = kChat) {
    meter_.started({.process = process, .function = function, .devices = devices, .bytes = 100},
                   at(0s));
  }
  domain::Receipt close(const std::string& request, Duration now, Payer payer = Payer::Caller) {
    return meter_.close({.request = request, .function = kChat, .payer = payer}, at(now),
                        WallTime{});
  }
  policy::DeviceAccount cpu(Duration now) { return meter_.devices(at(now)).at(1).account; }

  Meter meter_;
};

TEST_F(MeterTest, AnsweredCall_PaysItsTimeAndTheFeeOfItsDevice) {
  start(kReplica, {{0}});
  meter_.granted(kA, kReplica, 1, at(1s));
  meter_.claim(kRequest, kA);
  meter_.ended(kA, at(3s));
  const domain::Receipt receipt = close(kRequest, 4s);
  ASSERT_EQ(receipt.devices.size(), 1U);
  EXPECT_EQ(receipt.devices[0],
            (domain::DeviceLine{
                .device = "A10G:0", .per_hour = {3'600'000'000}, .time = 2s, .cost = {2'000'000}}));
  EXPECT_EQ(receipt.fee_device, "A10G:0");
  EXPECT_EQ(receipt.fee, domain::Money{200});
  EXPECT_EQ(receipt.cost, domain::Money{2'000'200});
  EXPECT_EQ(receipt.platform, domain::Money{});
  EXPECT_EQ(receipt.attempts, 1);
  EXPECT_EQ(receipt.byte_seconds, 200U);
  EXPECT_EQ(meter_.open_requests(), 0U);
}

TEST_F(MeterTest, WithoutDevices_ItIsOnTheCpu_WhosePriceIsFoundInAnyCase) {
  start(kReplica);
  meter_.granted(kA, kReplica, 1, at(0s));
  meter_.claim(kRequest, kA);
  EXPECT_EQ(close(kRequest, 1s).cost, domain::Money{100'010});
  EXPECT_EQ(cpu(1s).callers, domain::Money{100'000});  // the fee is outside the law
}

TEST_F(MeterTest, EarlierAttempt_IsThePlatforms_TheLastOneItsCallers) {
  start(kReplica);
  start(kOther);
  meter_.granted(kA, kReplica, 1, at(0s));
  meter_.claim(kRequest, kA);
  meter_.ended(kA, at(2s));
  meter_.granted(kB, kOther, 1, at(3s));
  meter_.claim(kRequest, kB);
  const domain::Receipt receipt = close(kRequest, 4s);
  EXPECT_EQ(receipt.attempts, 2);
  EXPECT_EQ(receipt.cost, domain::Money{100'010});
  EXPECT_EQ(receipt.platform, domain::Money{200'000});
  const policy::DeviceAccount account = cpu(4s);
  EXPECT_EQ(account.callers, domain::Money{100'000});
  EXPECT_EQ(account.platform, domain::Money{200'000});
  EXPECT_EQ(account.idle, domain::Money{100'000});
}

TEST_F(MeterTest, CallThatOurFaultBroke_OwesNothing) {
  start(kReplica);
  meter_.granted(kA, kReplica, 1, at(0s));
  meter_.claim(kRequest, kA);
  const domain::Receipt receipt = close(kRequest, 2s, Payer::Platform);
  EXPECT_EQ(receipt.cost, domain::Money{});
  EXPECT_EQ(receipt.fee, domain::Money{});
  EXPECT_EQ(receipt.platform, domain::Money{200'000});
  EXPECT_TRUE(receipt.devices.empty());
}

TEST_F(MeterTest, CallThatNoRequestClaims_IsThePlatformsAtItsEnd) {
  start(kReplica);
  meter_.granted(kA, kReplica, 1, at(0s));
  meter_.ended(kA, at(1s));
  meter_.ended(kA, at(2s));  // known no more
  EXPECT_EQ(cpu(3s).platform, domain::Money{100'000});
  EXPECT_EQ(cpu(3s).running, domain::Money{});
}

TEST_F(MeterTest, CostSoFar_EndsItsTime_AndIsWhatTheReceiptSays) {
  start(kReplica);
  meter_.granted(kA, kReplica, 1, at(0s));
  meter_.claim(kRequest, kA);
  EXPECT_EQ(meter_.cost_so_far(kRequest, at(1s)), domain::Money{100'010});
  EXPECT_EQ(meter_.cost_so_far(kRequest, at(2s)), domain::Money{100'010});
  meter_.ended(kA, at(3s));
  EXPECT_EQ(close(kRequest, 4s).cost, domain::Money{100'010});
  EXPECT_EQ(meter_.cost_so_far("req_unknown", at(5s)), domain::Money{});
}

TEST_F(MeterTest, ReplicaThatDies_EndsWhatItRan) {
  start(kReplica);
  meter_.granted(kA, kReplica, 1, at(0s));
  meter_.claim(kRequest, kA);
  meter_.gone(kReplica, at(1s));
  EXPECT_EQ(close(kRequest, 9s, Payer::Platform).platform, domain::Money{100'000});
  meter_.granted(kB, kReplica, 1, at(9s));  // of a process that is gone
  EXPECT_EQ(cpu(10s).running, domain::Money{});
}

TEST_F(MeterTest, Memory_IsSplitBySlots_AndIdleGoesToTheNextReceipt) {
  start(kReplica);
  meter_.granted(kA, kReplica, 1, at(10s));
  meter_.claim(kRequest, kA);
  meter_.granted(kB, kReplica, 3, at(10s));
  meter_.claim(kRequestB, kB);
  meter_.measured(kReplica, 200, at(14s));
  const domain::Receipt first = close(kRequest, 18s);
  EXPECT_EQ(first.byte_seconds, 300U);  // a quarter of 4 s × 100 and 4 s × 200
  EXPECT_EQ(first.idle_byte_seconds, 1'000U);
  const domain::Receipt second = close(kRequestB, 21s);
  EXPECT_EQ(second.byte_seconds, 1'500U);  // three quarters of that, and 3 s × 200
  EXPECT_EQ(second.idle_byte_seconds, 0U);
}

TEST_F(MeterTest, SpareIsNobodysUntilItIsAssigned_WhatIsGoneIsStillTold) {
  start(kReplica, {}, "");
  meter_.assigned(kReplica, kChat, at(5s));
  start(kOther);
  meter_.gone(kOther, at(2s));
  meter_.granted(kA, kReplica, 1, at(7s));
  meter_.claim(kRequest, kA);
  EXPECT_EQ(close(kRequest, 8s).idle_byte_seconds, 400U);  // 2 s of each
}

TEST_F(MeterTest, RequestWithoutAClaim_HasAnEmptyReceipt) {
  const domain::Receipt receipt = close("req_x", 1s);
  EXPECT_EQ(receipt.cost, domain::Money{});
  EXPECT_EQ(receipt.attempts, 0);
}

}  // namespace
}  // namespace glowplug::metering
