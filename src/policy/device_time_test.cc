#include "policy/device_time.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr domain::DeviceId kFirst{0}, kSecond{1};
constexpr domain::CallId kA{1}, kB{2};

Time at(Duration since_start) { return Time{} + since_start; }

TEST(CostOfTime, IsRoundedDownAndNeverMoreThanCanBeCounted) {
  EXPECT_EQ(cost_of_time(1h, {50'000}), domain::Money{50'000});
  EXPECT_EQ(cost_of_time(72ms, {50'000}), domain::Money{1});
  EXPECT_EQ(cost_of_time(71'999'999ns, {50'000}), domain::Money{0});
  EXPECT_EQ(cost_of_time(-1s, {50'000}), domain::Money{0});
  EXPECT_EQ(cost_of_time(Duration::max(), {1'000'000'000'000}).micros, 2'562'047'788'015'215'501);
}

TEST(DeviceTime, OneCallAlone_PaysItsTime_TheRestIsIdle) {
  DeviceTime devices({{3'600'000'000}}, at(0s));  // 1000 micro-units a millisecond
  devices.begin(kA, {kFirst}, 1, at(2s));
  const auto shares = devices.end(kA, at(5s));
  ASSERT_EQ(shares.size(), 1U);
  EXPECT_EQ(shares[0].time, Duration(3s));
  EXPECT_EQ(shares[0].cost, domain::Money{3'000'000});
  EXPECT_EQ(devices.account(kFirst, at(10s)).running, domain::Money{3'000'000});  // not settled
  devices.settle(shares, Payer::Caller);
  const DeviceAccount account = devices.account(kFirst, at(10s));
  EXPECT_EQ(account.wall, Duration(10s));
  EXPECT_EQ(account.unused, Duration(7s));
  EXPECT_EQ(account.callers, domain::Money{3'000'000});
  EXPECT_EQ(account.running, domain::Money{});
  EXPECT_EQ(account.idle, domain::Money{7'000'000});
}

TEST(DeviceTime, CallsInFlightTogether_ShareByTheSlotsTheyWeigh) {
  DeviceTime devices({{3'600'000'000}}, at(0s));
  devices.begin(kA, {kFirst}, 1, at(0s));
  devices.begin(kB, {kFirst}, 3, at(4s));
  EXPECT_EQ(devices.so_far(kA, at(8s)).at(0).time, Duration(5s));
  EXPECT_EQ(devices.end(kA, at(8s)).at(0).time, Duration(5s));   // 4 s alone, a quarter of 4 s
  EXPECT_EQ(devices.end(kB, at(11s)).at(0).time, Duration(6s));  // three quarters of 4 s, 3 s alone
}

TEST(DeviceTime, SeveralDevices_AreEachPaid) {
  DeviceTime devices({{3'600'000'000}, {7'200'000'000}}, at(0s));
  devices.begin(kA, {kFirst, kSecond}, 1, at(0s));
  const auto shares = devices.end(kA, at(1s));
  ASSERT_EQ(shares.size(), 2U);
  EXPECT_EQ(shares[0].cost, domain::Money{1'000'000});
  EXPECT_EQ(shares[1].cost, domain::Money{2'000'000});
}

TEST(DeviceTime, WhatOurFaultBroke_IsThePlatforms) {
  DeviceTime devices({{3'600'000'000}}, at(0s));
  devices.begin(kA, {kFirst}, 1, at(0s));
  devices.settle(devices.end(kA, at(2s)), Payer::Platform);
  const DeviceAccount account = devices.account(kFirst, at(2s));
  EXPECT_EQ(account.callers, domain::Money{});
  EXPECT_EQ(account.platform, domain::Money{2'000'000});
  EXPECT_EQ(account.idle, domain::Money{});
}

TEST(DeviceTime, EndOfWhatDoesNotRun_AndASecondBegin_ChangeNothing) {
  DeviceTime devices({{3'600'000'000}}, at(0s));
  EXPECT_TRUE(devices.end(kA, at(1s)).empty());
  devices.begin(kA, {kFirst}, 1, at(1s));
  devices.begin(kA, {kFirst}, 1, at(2s));
  EXPECT_EQ(devices.end(kA, at(3s)).at(0).time, Duration(2s));
  EXPECT_TRUE(devices.end(kA, at(4s)).empty());
}

// The law, over any run, at prices that divide badly, and with a clock that may stand still.
struct Course {
  explicit Course(unsigned seed)
      : random(seed),
        prices{{50'000}, {1}, {999'999'999'989}, {0}, {3'000'001}},
        devices(prices, now) {}

  int below(int most) { return std::uniform_int_distribution<int>(0, most - 1)(random); }

  void begin() {
    std::vector<domain::DeviceId> on;
    for (std::size_t i = 0; i < prices.size(); ++i)
      if (below(3) == 0) on.push_back({i});
    devices.begin({++last}, on, 1 + below(7), now);
    open.push_back(last);
  }
  void end() {
    if (open.empty()) return;
    const auto which = open.begin() + below(static_cast<int>(open.size()));
    auto shares = devices.end({*which}, now);
    open.erase(which);
    ended.push_back(std::move(shares));
  }
  void settle() {
    if (ended.empty()) return;
    const Payer payer = below(4) == 0 ? Payer::Platform : Payer::Caller;
    for (const DeviceShare& share : ended.back()) {
      (payer == Payer::Caller ? callers : platform)[share.device.value] += share.cost.micros;
      ++receipts[share.device.value];
    }
    devices.settle(ended.back(), payer);
    ended.pop_back();
  }
  void step() {
    now += Duration(std::uniform_int_distribution<std::int64_t>(
        0, below(5) == 0 ? 7'000'000'000'000 : 999)(random));
    switch (below(3)) {
      case 0: return begin();
      case 1: return end();
      default: return settle();
    }
  }
  void check(unsigned seed) {
    for (std::size_t i = 0; i < prices.size(); ++i) {
      const DeviceAccount account = devices.account({i}, now);
      EXPECT_EQ(account.wall, now - Time{}) << "seed " << seed;
      EXPECT_EQ(account.wall_cost, cost_of_time(account.wall, prices[i])) << "seed " << seed;
      EXPECT_EQ(account.callers.micros, callers[i]) << "seed " << seed;
      EXPECT_EQ(account.platform.micros, platform[i]) << "seed " << seed;
      EXPECT_EQ(account.callers.micros + account.platform.micros + account.running.micros +
                    account.idle.micros,
                account.wall_cost.micros)
          << "seed " << seed;
      // Idle is what was measured to be so, and at most two micro-units that rounding left of each
      // receipt and of what still runs: one of its cost, and less than one of its nanosecond.
      const std::int64_t measured = cost_of_time(account.unused, prices[i]).micros;
      const auto pieces =
          static_cast<std::int64_t>(receipts[i] + open.size() + 2 * ended.size() + 1);
      EXPECT_GE(account.idle.micros, measured) << "seed " << seed << " device " << i;
      EXPECT_LE(account.idle.micros, measured + 2 * pieces) << "seed " << seed << " device " << i;
    }
  }

  std::mt19937 random;
  Time now{};
  std::vector<domain::Money> prices;
  DeviceTime devices;
  std::uint64_t last = 0;
  std::vector<std::uint64_t> open;
  std::vector<std::vector<DeviceShare>> ended;
  std::map<std::size_t, std::int64_t> callers, platform, receipts;
};

TEST(DeviceTime, AnyRun_ReceiptsAndIdleAreTheWallClockTimesThePrice) {
  for (unsigned seed = 1; seed <= 200; ++seed) {
    Course run(seed);
    for (int i = 0; i < 300; ++i) {
      run.step();
      if (i % 50 == 0) run.check(seed);
    }
    while (!run.open.empty()) run.end();
    while (!run.ended.empty()) run.settle();
    run.check(seed);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(EvenSplit, RateThatChanges_CountsFromThenOn) {
  EvenSplit bytes(at(0s), 100);
  const auto holder = bytes.join(2, at(1s));
  bytes.set_rate(300, at(2s));
  EXPECT_TRUE(bytes.is_held());
  EXPECT_EQ(static_cast<std::uint64_t>(bytes.leave(holder, at(3s))), 400'000'000'000U);
  EXPECT_EQ(static_cast<std::uint64_t>(bytes.idle(at(4s))), 400'000'000'000U);  // 100 + 300
  EXPECT_FALSE(bytes.is_held());
}

}  // namespace
}  // namespace glowplug::policy
