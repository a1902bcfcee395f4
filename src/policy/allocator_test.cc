#include "policy/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;
using domain::Device;
using domain::DeviceId;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kGB = kGigabyte;

struct Row {
  std::string type;
  std::uint64_t gib;
  int count = 1;
  std::string name = {};
};

// A fleet with nothing on it yet.
class Fleet {
 public:
  Fleet(std::vector<Row> rows) : ledger_(made(rows)) {
    for (std::size_t i = 0; i < ledger_.fleet().size(); ++i) all_.push_back({i});
  }

  Result<std::vector<Placement>> places(std::uint64_t weights, std::uint64_t bytes,
                                        const std::string& wish = "auto",
                                        Demand demand = Demand::Usual) const {
    return placements({.function = "f",
                       .weight_bytes = weights,
                       .bytes = bytes,
                       .wish = *domain::parse_device_wish(wish),
                       .demand = demand},
                      ledger_.fleet(), usable_devices(ledger_.fleet(), all_));
  }
  // "A100 x2": what is preferred; the error's code where there is nothing.
  std::string first(std::uint64_t weights, const std::string& wish = "auto",
                    Demand demand = Demand::Usual) const {
    return in_words(places(weights, weights == 0 ? kGB : weights, wish, demand));
  }
  std::string fault(std::uint64_t weights, const std::string& wish = "auto") const {
    const auto found = places(weights, weights, wish);
    return found ? "" : found.error().message;
  }
  // "A10G:1" or "A100:0 A100:1": where it goes now, and is reserved; "full".
  std::string start(std::uint64_t weights, const std::string& wish = "auto",
                    Demand demand = Demand::Usual) {
    const auto found = places(weights, weights, wish, demand);
    if (!found) return found.error().code;
    const auto chosen = choose_devices("f", *found, ledger_, now_);
    if (!chosen) return "full";
    EXPECT_TRUE(ledger_.reserve({++last_}, chosen->allocation));
    std::string names;
    for (const DeviceId id : chosen->allocation.devices)
      names += (names.empty() ? "" : " ") + ledger_.device(id).name;
    reason_ = chosen->reason;
    return names;
  }
  const std::string& reason() const { return reason_; }
  DeviceLedger& ledger() { return ledger_; }

 private:
  static std::vector<Device> made(const std::vector<Row>& rows) {
    std::vector<Device> devices;
    for (const Row& row : rows)
      devices.push_back({.name = row.name.empty() ? row.type : row.name,
                         .type = row.type,
                         .memory_bytes = row.gib * kGiB,
                         .count = row.count});
    return domain::each_alone(devices);
  }
  static std::string in_words(const Result<std::vector<Placement>>& found) {
    if (!found) return found.error().code;
    const Placement& best = found->front();
    return best.type + (best.count > 1 ? " x" + std::to_string(best.count) : "");
  }

  DeviceLedger ledger_;
  std::vector<DeviceId> all_;
  Time now_{1000s};
  std::uint64_t last_ = 0;
  std::string reason_;
};

Fleet whole() { return Fleet({{"T4", 16, 2}, {"A10G", 24, 2}, {"A100", 40, 4}, {"CPU", 8}}); }

TEST(DeviceRule, IsBySize) {
  const std::vector<std::pair<std::uint64_t, DeviceRule>> table{
      {1, {"T4", 1}},          {7 * kGB, {"T4", 1}},        {7 * kGB + 1, {"A10G", 1}},
      {30 * kGB, {"A10G", 1}}, {30 * kGB + 1, {"A100", 2}}, {1000 * kGB, {"A100", 2}}};
  for (const auto& [size, rule] : table) EXPECT_EQ(device_rule(size), rule) << size;
}

TEST(Allocator, EachSize_PrefersItsType) {
  const std::vector<std::pair<std::uint64_t, std::string>> table{
      {0, "T4"},  // counts as 7 GB
      {1, "T4"},
      {7 * kGB, "T4"},
      {7 * kGB + 1, "A10G"},
      {25 * kGB, "A10G"},
      {30 * kGB, "A100"},  // more than an A10G of 24 GiB holds
      {30 * kGB + 1, "A100 x2"},
      {80 * kGB, "A100 x2"}};
  for (const auto& [size, type] : table) EXPECT_EQ(whole().first(size), type) << size;
}

TEST(Allocator, PreferredTypeThatHoldsThirtyGigabytes_GetsThem) {
  EXPECT_EQ(Fleet({{"A10G", 32}, {"A100", 40, 2}}).first(30 * kGB), "A10G");
}

TEST(Allocator, PreferredTypeIsNotThere_NextThatFitsIsTaken) {
  EXPECT_EQ(Fleet({{"A100", 40}, {"A10G", 24}}).first(7 * kGB), "A10G");
  EXPECT_EQ(Fleet({{"A100", 40}, {"T4", 16}}).first(10 * kGB), "T4");
  EXPECT_EQ(Fleet({{"A100", 40}, {"T4", 16}}).first(20 * kGB), "A100");
  EXPECT_EQ(Fleet({{"H100", 80}, {"L4", 24, 4}}).first(40 * kGB), "H100");
  EXPECT_EQ(Fleet({{"L4", 24, 2}, {"T4", 16, 4}}).first(40 * kGB), "L4 x2");
  EXPECT_EQ(Fleet({{"A100", 80}}).first(60 * kGB), "A100");  // there is only one
}

TEST(Allocator, CpuIsTakenWhereNoAcceleratorHoldsIt) {
  EXPECT_EQ(Fleet({{"CPU", 8}}).first(5 * kGB), "CPU");
  EXPECT_EQ(Fleet({{"CPU", 64}, {"T4", 16}}).first(20 * kGB), "CPU");
  EXPECT_EQ(Fleet({{"CPU", 64}, {"T4", 16}}).first(5 * kGB), "T4");
  EXPECT_EQ(Fleet({{"CPU", 64}, {"T4", 16}}).first(5 * kGB, "cpu"), "CPU");
}

TEST(Allocator, RarelyCalled_GetsTheSmallestThatFits) {
  EXPECT_EQ(whole().first(10 * kGB), "A10G");
  EXPECT_EQ(whole().first(10 * kGB, "auto", Demand::Rare), "T4");
  EXPECT_EQ(whole().first(20 * kGB, "auto", Demand::Rare), "A10G");
  EXPECT_EQ(whole().first(35 * kGB, "auto", Demand::Rare), "A100");
  EXPECT_EQ(whole().first(80 * kGB, "auto", Demand::Rare), "A100 x2");
  EXPECT_EQ(whole().first(10 * kGB, "A100", Demand::Rare), "A100");  // its owner says so
}

TEST(Allocator, ManifestOverrides) {
  Fleet fleet = Fleet({{"A100", 40, 2, "old"}, {"A100", 80, 2, "new"}, {"T4", 16}, {"CPU", 8}});
  EXPECT_EQ(fleet.start(5 * kGB, "A100"), "old:0");
  EXPECT_EQ(fleet.start(5 * kGB, "a100 x2"), "old:0 old:1");
  EXPECT_EQ(fleet.start(5 * kGB, "new"), "new:0");
  EXPECT_EQ(fleet.start(5 * kGB, "new:1"), "new:1");
  EXPECT_EQ(fleet.start(5 * kGB, "gpu"), "T4:0");
  EXPECT_EQ(fleet.start(20 * kGB, "gpu"), "old:0");  // by size, but never the CPU
  EXPECT_EQ(fleet.start(5 * kGB, "gpu:2"), "new:0");
  EXPECT_EQ(fleet.start(50 * kGB, "A100"), "new:0");
  EXPECT_EQ(fleet.start(5 * kGB, "cpu"), "CPU");
  EXPECT_EQ(Fleet({{"T4", 16}, {"CPU", 64}}).first(20 * kGB, "gpu"), "does_not_fit");
}

TEST(Allocator, WishForWhatIsNotThere_NamesWhatIs) {
  const std::string none = whole().fault(kGB, "H100");
  EXPECT_THAT(none, HasSubstr("`f` asks for H100 with resources.device"));
  EXPECT_THAT(none, HasSubstr("T4:0, T4:1, A10G:0, A10G:1, A100:0"));
  EXPECT_THAT(whole().fault(kGB, "T4 x3"), HasSubstr("asks for T4 x3"));
  EXPECT_THAT(whole().fault(kGB, "T4 x3"), HasSubstr("there are 2"));
  EXPECT_EQ(whole().first(kGB, "T4:2"), "unsupported_value");
  EXPECT_EQ(whole().first(kGB, "gpu:8"), "unsupported_value");
  EXPECT_EQ(Fleet({{"CPU", 8}}).first(kGB, "gpu"), "unsupported_value");
}

TEST(Allocator, LargerThanEveryDevice_NamesTheLargest) {
  EXPECT_EQ(Fleet({{"T4", 16, 2}, {"CPU", 8}}).first(20 * kGB), "does_not_fit");
  const std::string fault = Fleet({{"T4", 16, 2}, {"CPU", 8}}).fault(20 * kGB);
  EXPECT_THAT(fault,
              HasSubstr("`f` needs 20.0 GB and the largest device here is T4:0 with 17.2 GB"));
  EXPECT_THAT(fault, HasSubstr("or spread it with resources.device: T4 x2"));
  EXPECT_EQ(Fleet({{"T4", 16, 2}}).first(20 * kGB, "T4 x2"), "T4 x2");

  const std::string huge = whole().fault(100 * kGB);
  EXPECT_THAT(huge, HasSubstr("A100:0 with 42.9 GB, and no 2 alike hold it together"));
  EXPECT_THAT(huge, HasSubstr("A100 x3"));
  EXPECT_THAT(whole().fault(1000 * kGB), Not(HasSubstr("spread")));
  EXPECT_THAT(whole().fault(20 * kGB, "T4"),
              HasSubstr("the largest device that it asks for is T4:0"));
}

TEST(Allocator, ToTheByte) {
  const Fleet one({{"T4", 16}});
  EXPECT_TRUE(one.places(kGB, 16 * kGiB).ok());
  EXPECT_FALSE(one.places(kGB, 16 * kGiB + 1).ok());
  const Fleet two({{"A100", 40, 2}});
  EXPECT_TRUE(two.places(31 * kGB, 80 * kGiB).ok());
  EXPECT_EQ(two.places(31 * kGB, 80 * kGiB - 1)->front().bytes_each, 40 * kGiB);
  EXPECT_FALSE(two.places(31 * kGB, 80 * kGiB + 1).ok());
}

TEST(Allocator, FullestDeviceWithRoom_IsTakenFirst) {
  Fleet fleet({{"T4", 16, 3}});
  EXPECT_EQ(fleet.start(6 * kGB), "T4:0");
  EXPECT_EQ(fleet.start(6 * kGB), "T4:0");
  EXPECT_EQ(fleet.start(6 * kGB), "T4:1");  // 5.2 GB are left of the first
  EXPECT_EQ(fleet.start(5 * kGB), "T4:0");
  EXPECT_EQ(fleet.start(5 * kGB), "T4:1");
}

TEST(Allocator, PreferredTypeIsFull_NextThatFitsIsTaken_ThenNone) {
  Fleet fleet({{"T4", 16}, {"A10G", 24}, {"A100", 40, 2}});
  EXPECT_EQ(fleet.start(7 * kGB), "T4:0");
  EXPECT_EQ(fleet.start(7 * kGB), "T4:0");
  EXPECT_EQ(fleet.start(7 * kGB), "A10G:0");
  EXPECT_THAT(fleet.reason(), HasSubstr("7.0 GB: T4 by size, which is taken; the next that fits"));
  EXPECT_EQ(fleet.start(80 * kGB), "A100:0 A100:1");
  EXPECT_EQ(fleet.start(7 * kGB), "A10G:0");
  EXPECT_EQ(fleet.start(7 * kGB), "A10G:0");
  EXPECT_EQ(fleet.start(7 * kGB), "full");
}

TEST(Allocator, QuarantinedDevice_IsPassedOver) {
  Fleet fleet({{"T4", 16}, {"A10G", 24}});
  for (std::uint64_t i = 100; i < 103; ++i) {
    ASSERT_TRUE(fleet.ledger().reserve({i}, {.devices = {{0}}, .bytes_each = 1}));
    fleet.ledger().start_failed({i}, {.function = "g", .has_been_ready = true}, Time(1000s));
  }
  EXPECT_EQ(fleet.start(5 * kGB), "A10G:0");
  EXPECT_EQ(fleet.start(5 * kGB, "T4"), "full");
}

TEST(Allocator, FunctionThatFailedOnADevice_IsTriedOnAnotherFirst) {
  Fleet fleet({{"T4", 16, 2}, {"A10G", 24}});
  const auto fail = [&fleet](std::uint64_t id, std::size_t device) {
    ASSERT_TRUE(fleet.ledger().reserve({id}, {.devices = {{device}}, .bytes_each = 1}));
    fleet.ledger().start_failed({id}, {.function = "f"}, Time(1000s));
  };
  fail(100, 0);
  EXPECT_EQ(fleet.start(5 * kGB), "T4:1");
  fail(101, 1);
  EXPECT_EQ(fleet.start(5 * kGB), "A10G:0");
  fail(102, 2);
  EXPECT_EQ(fleet.start(5 * kGB), "T4:1");  // everywhere alike: by room again
}

TEST(CallRate, FewCallsInAnHour_AreRare) {
  CallRate rate;
  const Time begin{1000s};
  EXPECT_EQ(rate.demand(begin), Demand::Usual);
  rate.begin(begin);
  EXPECT_EQ(rate.demand(begin + 59min), Demand::Usual);  // not known yet
  EXPECT_EQ(rate.demand(begin + 60min), Demand::Rare);
  for (int i = 0; i < kRareCalls - 1; ++i) rate.note_call(begin + 61min);
  EXPECT_EQ(rate.demand(begin + 62min), Demand::Rare);
  rate.note_call(begin + 62min);
  EXPECT_EQ(rate.demand(begin + 62min), Demand::Usual);
  EXPECT_EQ(rate.demand(begin + 179min), Demand::Usual);
  EXPECT_EQ(rate.demand(begin + 180min), Demand::Rare);
  rate.note_call(begin + 181min);
  EXPECT_EQ(rate.demand(begin + 182min), Demand::Rare);
}

TEST(CallRate, CallsOfTwoWindows_AreAddedUp) {
  CallRate rate;
  const Time begin{1000s};
  rate.begin(begin);
  for (const auto at : {100min, 110min, 121min}) rate.note_call(begin + at);
  EXPECT_EQ(rate.demand(begin + 122min), Demand::Rare);
  rate.note_call(begin + 123min);
  EXPECT_EQ(rate.demand(begin + 124min), Demand::Usual);
}

TEST(Allocator, Reasons_SayWhyWithNumbers) {
  Fleet fleet = whole();
  fleet.start(12'500'000'000);
  EXPECT_EQ(fleet.reason(), "12.5 GB: A10G by size (12.5 GB of 25.8 GB): A10G:0, 13.3 GB left");
  fleet.start(60 * kGB);
  EXPECT_EQ(fleet.reason(),
            "60.0 GB: A100 x2 by size (30.0 GB of 42.9 GB on each): A100:0, 12.9 GB left; A100:1, "
            "12.9 GB left");
  EXPECT_EQ(fleet.places(0, kGB)->front().reason,
            "of unknown size, counted as 7.0 GB: T4 by size (1.0 GB of 17.2 GB)");
  EXPECT_EQ(fleet.places(10 * kGB, 10 * kGB, "auto", Demand::Rare)->front().reason,
            "rarely called: the smallest device that fits (10.0 GB of 17.2 GB)");
  EXPECT_EQ(fleet.places(kGB, kGB, "A100:3")->front().reason,
            "resources.device says A100:3 (1.0 GB of 42.9 GB)");
}

TEST(DeviceWish, ReadsWhatManifestsSay) {
  using domain::DeviceWish;
  using domain::parse_device_wish;
  EXPECT_EQ(parse_device_wish("auto"), DeviceWish{});
  EXPECT_EQ(parse_device_wish("cpu"), (DeviceWish{.name = "cpu"}));
  EXPECT_EQ(parse_device_wish("gpu"), (DeviceWish{.name = "gpu"}));
  EXPECT_EQ(parse_device_wish("cuda:1"), (DeviceWish{.name = "gpu", .number = 1}));
  EXPECT_EQ(parse_device_wish("A10G:12"), (DeviceWish{.name = "A10G", .number = 12}));
  EXPECT_EQ(parse_device_wish("A100 x2"), (DeviceWish{.name = "A100", .count = 2}));
  EXPECT_EQ(parse_device_wish("A100 x1"), (DeviceWish{.name = "A100"}));
  for (const char* bad :
       {"", " ", ":", "A100:", "A100:x", "A100 2", "A100 x", "A100 x0", "A100 x-1", "A100 x1001",
        "A100:1 x2", "auto:1", "cpu:0", "cpu x2", "A 100", "é", "gpu:12345", "A100  x2", "A100x2:"})
    EXPECT_EQ(parse_device_wish(bad), std::nullopt) << bad;
}

TEST(Fleet, EachAlone_CountsOnWithinAName) {
  const auto fleet = domain::each_alone({{.name = "H100", .type = "H100", .count = 1},
                                         {.name = "CPU", .type = "CPU"},
                                         {.name = "T4", .type = "T4", .count = 2},
                                         {.name = "H100", .type = "H100", .count = 2}});
  std::vector<std::string> names;
  for (const Device& device : fleet) names.push_back(device.name);
  EXPECT_EQ(names, (std::vector<std::string>{"H100:0", "CPU", "T4:0", "T4:1", "H100:1", "H100:2"}));
}

}  // namespace
}  // namespace glowplug::policy
