#include "policy/device_ledger.h"

#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::Device;
using domain::DeviceHealth;
using domain::DeviceId;
using domain::ProcessId;

std::vector<Device> fleet(std::vector<std::uint64_t> sizes) {
  std::vector<Device> devices;
  for (const std::uint64_t bytes : sizes)
    devices.push_back({.name = "T4", .type = "T4", .memory_bytes = bytes});
  return domain::each_alone(devices);
}

TEST(DeviceLedger, ReservesAllOrNothing) {
  DeviceLedger ledger(fleet({100, 50}));
  EXPECT_FALSE(ledger.reserve({1}, {{{0}, {1}}, 51}));
  EXPECT_EQ(ledger.reserved({0}), 0u);
  EXPECT_TRUE(ledger.reserve({1}, {{{0}, {1}}, 50}));
  EXPECT_EQ(ledger.free({0}), 50u);
  EXPECT_EQ(ledger.free({1}), 0u);
  EXPECT_FALSE(ledger.reserve({2}, {{{1}}, 1}));
  ledger.release({1});
  EXPECT_EQ(ledger.reserved({0}) + ledger.reserved({1}), 0u);
  EXPECT_EQ(ledger.allocation({1}), nullptr);
}

TEST(DeviceLedger, Correction_WithinWhatIsFree) {
  DeviceLedger ledger(fleet({100}));
  ASSERT_TRUE(ledger.reserve({1}, {{{0}}, 40}));
  ledger.correct({1}, 70);
  EXPECT_EQ(ledger.free({0}), 30u);
  ledger.correct({1}, 20);
  EXPECT_EQ(ledger.free({0}), 80u);
  EXPECT_EQ(ledger.allocation({1})->bytes_each, 20u);
}

TEST(DeviceLedger, CorrectionBeyondWhatIsFree_IsOwedAndPaidFirst) {
  DeviceLedger ledger(fleet({100}));
  ASSERT_TRUE(ledger.reserve({1}, {{{0}}, 40}));
  ASSERT_TRUE(ledger.reserve({2}, {{{0}}, 40}));
  ledger.correct({1}, 75);
  EXPECT_EQ(ledger.reserved({0}), 100u);
  EXPECT_EQ(ledger.owed({0}), 15u);
  EXPECT_EQ(ledger.free({0}), 0u);
  EXPECT_FALSE(ledger.reserve({3}, {{{0}}, 0}));  // not even nothing
  ledger.correct({2}, 30);
  EXPECT_EQ(ledger.owed({0}), 5u);
  ledger.release({2});
  EXPECT_EQ(ledger.owed({0}), 0u);
  EXPECT_EQ(ledger.free({0}), 25u);
}

TEST(DeviceLedger, UnknownHolder_ChangesNothing) {
  DeviceLedger ledger(fleet({100}));
  ledger.release({9});
  ledger.correct({9}, 1000);
  ledger.start_succeeded({9}, "f", Time(1s));
  ledger.start_failed({9}, {"f", true}, Time(1s));
  EXPECT_EQ(ledger.free({0}), 100u);
  EXPECT_EQ(ledger.failed_starts({0}), 0);
}

// What each holder wants, kept beside the ledger by sums alone.
class Model {
 public:
  explicit Model(std::vector<std::uint64_t> sizes) : sizes_(std::move(sizes)) {}
  std::uint64_t wanted(std::size_t device) const {
    std::uint64_t sum = 0;
    for (const auto& [holder, held] : holders_)
      if (held.devices.end() !=
          std::find(held.devices.begin(), held.devices.end(), DeviceId{device}))
        sum += held.bytes_each;
    return sum;
  }
  bool fits(const Allocation& asked) const {
    return std::all_of(asked.devices.begin(), asked.devices.end(), [&](DeviceId id) {
      return wanted(id.value) <= sizes_[id.value] &&
             asked.bytes_each <= sizes_[id.value] - wanted(id.value);
    });
  }
  std::map<ProcessId, Allocation> holders_;
  std::vector<std::uint64_t> sizes_;
};

void expect_agreement(const DeviceLedger& ledger, const Model& model) {
  for (std::size_t i = 0; i < model.sizes_.size(); ++i) {
    const std::uint64_t size = model.sizes_[i], wanted = model.wanted(i);
    ASSERT_LE(ledger.reserved({i}), size);  // never over-committed
    ASSERT_EQ(ledger.reserved({i}), std::min(size, wanted));
    ASSERT_EQ(ledger.owed({i}), wanted - std::min(size, wanted));
    ASSERT_EQ(ledger.free({i}), wanted > size ? 0 : size - wanted);
  }
}

// One, or several at once, of the fleet's devices.
Allocation any_allocation(std::mt19937_64& random, const std::vector<std::uint64_t>& sizes) {
  std::vector<std::size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  Allocation asked;
  const std::size_t count = random() % 3 == 0 ? 1 + random() % sizes.size() : 1;
  for (std::size_t i = 0; i < count; ++i) asked.devices.push_back({order[i]});
  asked.bytes_each = random() % (sizes[order[0]] + 2);
  return asked;
}

void step(std::mt19937_64& random, DeviceLedger& ledger, Model& model, std::uint64_t& last) {
  const ProcessId any{last == 0 ? 1 : 1 + random() % last};
  const bool known = model.holders_.contains(any);
  switch (random() % 4) {
    case 0:
    case 1: {
      const Allocation asked = any_allocation(random, model.sizes_);
      const bool fits = model.fits(asked);
      ASSERT_EQ(ledger.reserve({++last}, asked), fits);
      if (fits) model.holders_[{last}] = asked;
      break;
    }
    case 2: {
      const std::uint64_t bytes = random() % 150;
      ledger.correct(any, bytes);
      if (known) model.holders_[any].bytes_each = bytes;
      break;
    }
    default:
      if (random() % 2 == 0)
        ledger.release(any);
      else
        ledger.start_failed(any, {"f", false}, Time(1s));
      model.holders_.erase(any);
  }
}

TEST(DeviceLedger, RandomSequences_NeverOverCommitAndNeverLeak) {
  const auto seeds = std::uint64_t{2'000};
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    std::vector<std::uint64_t> sizes(1 + random() % 5);
    for (std::uint64_t& size : sizes) size = 1 + random() % 100;
    DeviceLedger ledger(fleet(sizes));
    Model model(sizes);
    std::uint64_t last = 0;
    for (int i = 0; i < 60; ++i) {
      step(random, ledger, model, last);
      expect_agreement(ledger, model);
      if (testing::Test::HasFatalFailure()) return;
    }
    for (std::uint64_t id = 1; id <= last; ++id) ledger.release({id});
    for (std::size_t i = 0; i < sizes.size(); ++i) ASSERT_EQ(ledger.free({i}), sizes[i]);
  }
}

class Health : public testing::Test {
 protected:
  void fail(const std::string& function, bool has_been_ready = false, std::size_t device = 0) {
    ASSERT_TRUE(ledger_.reserve({++last_}, {{{device}}, 10}));
    ledger_.start_failed({last_}, {function, has_been_ready}, now_);
  }
  void succeed(const std::string& function, std::size_t device) {
    ASSERT_TRUE(ledger_.reserve({++last_}, {{{device}}, 10}));
    ledger_.start_succeeded({last_}, function, now_);
  }
  DeviceHealth health() const { return ledger_.health({0}, now_); }
  bool takes() const { return ledger_.takes_starts({0}, now_); }
  DeviceLedger ledger_{fleet({100, 100})};
  Time now_{1000s};
  std::uint64_t last_ = 0;
};

TEST_F(Health, ThreeFailuresInARow_OfFunctionsThatStartElsewhere_Quarantine) {
  fail("a", true);
  fail("a", true);
  EXPECT_EQ(health(), DeviceHealth::Healthy);
  fail("b", true);
  EXPECT_EQ(health(), DeviceHealth::Quarantined);
  EXPECT_EQ(ledger_.quarantined_until({0}, now_), now_ + 30s);
  EXPECT_EQ(ledger_.health({1}, now_), DeviceHealth::Healthy);
  EXPECT_EQ(ledger_.reserved({0}), 0u);
}

TEST_F(Health, SuccessBetween_StartsTheCountAnew) {
  fail("a", true);
  fail("a", true);
  succeed("b", 0);
  EXPECT_FALSE(ledger_.has_failed_on({0}, "a"));
  fail("a", true);
  fail("a", true);
  EXPECT_EQ(health(), DeviceHealth::Healthy);
}

TEST_F(Health, OneFunctionThatNeverStarted_IsNotTheDevicesFault) {
  for (int i = 0; i < 10; ++i) fail("broken");
  EXPECT_EQ(health(), DeviceHealth::Healthy);
  fail("another");
  EXPECT_EQ(health(), DeviceHealth::Quarantined);
}

TEST_F(Health, FunctionThatFailsEverywhere_BlamesNoDevice) {
  for (int i = 0; i < 5; ++i) {
    fail("a", true, 0);
    fail("a", true, 1);
  }
  EXPECT_EQ(ledger_.devices_failed_on("a"), 2);
  EXPECT_TRUE(takes());
  EXPECT_TRUE(ledger_.takes_starts({1}, now_));
}

TEST_F(Health, FunctionThatStartsOnAnother_BlamesTheOneWhereItDidNot) {
  for (int i = 0; i < 3; ++i) fail("new");
  EXPECT_TRUE(takes());
  succeed("new", 1);
  EXPECT_EQ(health(), DeviceHealth::Quarantined);
  EXPECT_TRUE(ledger_.takes_starts({1}, now_));
}

TEST_F(Health, AfterTheQuarantine_OneStartTries) {
  for (int i = 0; i < 3; ++i) fail("a", true);
  EXPECT_FALSE(takes());
  now_ += 30s;
  EXPECT_EQ(health(), DeviceHealth::OnTrial);
  EXPECT_TRUE(takes());
  ASSERT_TRUE(ledger_.reserve({50}, {{{0}}, 10}));
  EXPECT_FALSE(takes());
  ledger_.start_succeeded({50}, "b", now_);
  EXPECT_TRUE(takes());
  EXPECT_EQ(health(), DeviceHealth::Healthy);
  fail("a", true);
  EXPECT_EQ(health(), DeviceHealth::Healthy);
}

TEST_F(Health, TrialThatFails_DoublesTheTime_UpToTheMost) {
  for (int i = 0; i < 3; ++i) fail("a", true);
  for (const Duration next : {Duration(60s), Duration(120s), Duration(240s), Duration(480s),
                              Duration(600s), Duration(600s)}) {
    now_ = *ledger_.quarantined_until({0}, now_);
    fail("b");
    EXPECT_EQ(ledger_.quarantined_until({0}, now_), now_ + next);
  }
}

TEST_F(Health, TrialThatIsStoppedMeanwhile_SaysNothing) {
  for (int i = 0; i < 3; ++i) fail("a", true);
  now_ += 30s;
  ASSERT_TRUE(ledger_.reserve({50}, {{{0}}, 10}));
  ledger_.release({50});
  EXPECT_TRUE(takes());
  EXPECT_EQ(health(), DeviceHealth::OnTrial);
}

TEST_F(Health, StartsThatWereUnderWay_DoNotProlongIt) {
  for (std::uint64_t i = 10; i < 15; ++i) ASSERT_TRUE(ledger_.reserve({i}, {{{0}}, 10}));
  for (std::uint64_t i = 10; i < 15; ++i) ledger_.start_failed({i}, {"a", true}, now_);
  EXPECT_EQ(ledger_.quarantined_until({0}, now_), now_ + 30s);
}

TEST_F(Health, OfSeveralDevices_AllAreBlamed) {
  for (std::uint64_t i = 10; i < 13; ++i) {
    ASSERT_TRUE(ledger_.reserve({i}, {{{0}, {1}}, 10}));
    ledger_.start_failed({i}, {"a", true}, now_);
  }
  EXPECT_FALSE(ledger_.takes_starts({0}, now_));
  EXPECT_FALSE(ledger_.takes_starts({1}, now_));
}

TEST(CpuHealth, TheCpuIsNeverInQuarantine) {
  DeviceLedger ledger(domain::each_alone({{.name = "CPU", .type = "cpu", .memory_bytes = 100}}));
  for (std::uint64_t i = 1; i < 9; ++i) {
    ASSERT_TRUE(ledger.reserve({i}, {{{0}}, 10}));
    ledger.start_failed({i}, {"a", true}, Time(1s));
  }
  EXPECT_TRUE(ledger.takes_starts({0}, Time(1s)));
  EXPECT_EQ(ledger.free({0}), 100u);
}

}  // namespace
}  // namespace glowplug::policy
