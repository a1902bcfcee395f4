#include "policy/budget.h"

#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using domain::Budget;
using domain::Money;

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kMostBytes = std::numeric_limits<std::uint64_t>::max();

struct RoomRow {
  std::string about;
  Budget budget;
  Spend spent, each;
  int wanted = 0;
  BudgetRoom room;
};

class Room : public ::testing::TestWithParam<RoomRow> {};
TEST_P(Room, IsWhatTheRowSays) {
  const RoomRow& row = GetParam();
  EXPECT_EQ(budget_room(row.budget, row.spent, row.each, row.wanted), row.room) << row.about;
}

const Budget kNone, kMemory{.memory_bytes = 1000}, kMoney{.per_hour = {100'000}},
    kBoth{.memory_bytes = 1000, .per_hour = {100'000}};

INSTANTIATE_TEST_SUITE_P(
    Table, Room,
    ::testing::Values(
        RoomRow{"no budget", kNone, {900, {kMost}}, {kMostBytes, {kMost}}, 20, {20}},
        RoomRow{"nothing wanted", kMoney, {}, {0, {50'000}}, 0, {0}},
        RoomRow{"fewer than nothing wanted", kMoney, {}, {0, {50'000}}, -3, {0}},
        RoomRow{"two of half", kMoney, {}, {0, {50'000}}, 2, {2}},
        RoomRow{"three of half", kMoney, {}, {0, {50'000}}, 3, {2, BudgetLimit::Money}},
        RoomRow{"a micro-unit too dear", kMoney, {}, {0, {50'001}}, 2, {1, BudgetLimit::Money}},
        RoomRow{"just one", kMoney, {}, {0, {100'000}}, 1, {1}},
        RoomRow{"not one", kMoney, {}, {0, {100'001}}, 1, {0, BudgetLimit::Money}},
        RoomRow{"beside one", kMoney, {0, {50'000}}, {0, {50'000}}, 2, {1, BudgetLimit::Money}},
        RoomRow{"a micro-unit left", kMoney, {0, {99'999}}, {0, {1}}, 2, {1, BudgetLimit::Money}},
        RoomRow{"all taken", kMoney, {0, {100'000}}, {0, {1}}, 1, {0, BudgetLimit::Money}},
        RoomRow{"more than all taken", kMoney, {0, {kMost}}, {0, {1}}, 1, {0, BudgetLimit::Money}},
        RoomRow{"what costs nothing", kMoney, {0, {100'000}}, {9, {0}}, 5, {5}},
        RoomRow{"bytes do not count", kMoney, {9000, {}}, {9000, {50'000}}, 2, {2}},
        RoomRow{"bytes: all", kMemory, {}, {250, {}}, 4, {4}},
        RoomRow{"bytes: one too many", kMemory, {}, {250, {}}, 5, {4, BudgetLimit::Memory}},
        RoomRow{"a byte too large", kMemory, {}, {251, {}}, 4, {3, BudgetLimit::Memory}},
        RoomRow{"bytes: just one", kMemory, {}, {1000, {}}, 1, {1}},
        RoomRow{"bytes: not one", kMemory, {}, {1001, {}}, 1, {0, BudgetLimit::Memory}},
        RoomRow{"bytes: over it", kMemory, {1200, {}}, {1, {}}, 1, {0, BudgetLimit::Memory}},
        RoomRow{"money does not count", kMemory, {0, {kMost}}, {500, {kMost}}, 2, {2}},
        RoomRow{"the scarcer: money", kBoth, {}, {250, {50'000}}, 5, {2, BudgetLimit::Money}},
        RoomRow{"the scarcer: bytes", kBoth, {}, {600, {50'000}}, 5, {1, BudgetLimit::Memory}},
        RoomRow{"both alike", kBoth, {}, {500, {50'000}}, 5, {2, BudgetLimit::Memory}}));

TEST(Spend, Sum_IsNeverLessThanItsParts) {
  EXPECT_EQ((Spend{1, {2}} + Spend{3, {4}}), (Spend{4, {6}}));
  EXPECT_EQ((Spend{kMostBytes, {kMost}} + Spend{1, {1}}), (Spend{kMostBytes, {kMost}}));
}

TEST(CostPerHour, IsThatOfItsDevices) {
  const domain::PriceTable prices = domain::default_prices();
  EXPECT_EQ(cost_per_hour(prices, "CPU", 1), Money{50'000});
  EXPECT_EQ(cost_per_hour(prices, "a100", 2), Money{6'000'000});
  EXPECT_EQ(cost_per_hour(prices, "H100", 1), std::nullopt);
  EXPECT_EQ(cost_per_hour({{"X", {{kMost / 2}, {}}}}, "X", 3), Money{kMost});
}

struct SurplusRow {
  std::string about;
  Budget budget;
  std::vector<Spend> replicas;
  std::size_t surplus = 0;
};

class Surplus : public ::testing::TestWithParam<SurplusRow> {};
TEST_P(Surplus, IsWhatTheRowSays) {
  const SurplusRow& row = GetParam();
  EXPECT_EQ(budget_surplus(row.budget, row.replicas), row.surplus) << row.about;
}

INSTANTIATE_TEST_SUITE_P(
    Table, Surplus,
    ::testing::Values(SurplusRow{"nobody there", kBoth, {}, 0},
                      SurplusRow{"no budget", kNone, {{9000, {kMost}}, {9000, {kMost}}}, 0},
                      SurplusRow{"all of it", kMoney, {{0, {50'000}}, {0, {50'000}}}, 0},
                      SurplusRow{
                          "one too many", kMoney, {{0, {50'000}}, {0, {50'000}}, {0, {50'000}}}, 1},
                      SurplusRow{"a micro-unit over", kMoney, {{0, {50'001}}, {0, {50'000}}}, 1},
                      SurplusRow{"a byte over", kMemory, {{501, {}}, {500, {}}}, 1},
                      SurplusRow{"the last one stays", kMemory, {{10, {}}, {2000, {}}}, 1},
                      SurplusRow{"alone it stays", kBoth, {{2000, {900'000}}}, 0},
                      SurplusRow{"in their order", kMemory, {{900, {}}, {50, {}}, {100, {}}}, 1}));

TEST(BudgetRoom, InWords_HasTheNumbers) {
  EXPECT_EQ(in_words(BudgetLimit::Money, kMoney, {0, {100'000}}, {0, {50'000}}),
            "per_hour is 0.100000, 0.100000 are taken and each is 0.050000");
  EXPECT_EQ(in_words(BudgetLimit::Memory, {.memory_bytes = 4'000'000'000}, {3'000'000'000, {}},
                     {2'000'000'000, {}}),
            "memory is 4.0 GB, 3.0 GB are taken and each is 2.0 GB");
  EXPECT_EQ(to_string(BudgetLimit::Memory), "memory");
  EXPECT_EQ(to_string(BudgetLimit::Money), "per_hour");
}

}  // namespace
}  // namespace glowplug::policy
