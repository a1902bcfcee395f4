#include "policy/fair_shares.h"

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

using Order = std::vector<std::size_t>;

class Fair : public testing::Test {
 protected:
  std::vector<QueuedCall> queue(const std::vector<const std::string*>& tenants, double each = 1) {
    std::vector<QueuedCall> calls;
    for (const std::string* one : tenants) calls.push_back({*one, each});
    return calls;
  }
  const std::string red = "red", blue = "blue";
  FairShares shares;
};

TEST_F(Fair, OneTenant_FirstComeFirstServed) {
  EXPECT_EQ(shares.order(queue({&red, &red, &red})), (Order{0, 1, 2}));
  EXPECT_EQ(shares.order({}), Order{});
}

TEST_F(Fair, CrowdOfOne_AndTheOther_TakeTurns) {
  EXPECT_EQ(shares.order(queue({&red, &red, &red, &blue, &blue})), (Order{0, 3, 1, 4, 2}));
  EXPECT_EQ(shares.order(queue({&red, &red, &blue}, 0)), (Order{0, 2, 1}));  // of no known length
}

TEST_F(Fair, LongCalls_CountAsMuchAsSeveralShortOnes) {
  const std::vector<QueuedCall> calls{{red, 3},  {red, 3},  {blue, 1},
                                      {blue, 1}, {blue, 1}, {blue, 1}};
  EXPECT_EQ(shares.order(calls), (Order{0, 2, 3, 4, 1, 5}));
}

TEST_F(Fair, WhoHadMore_WaitsUntilTheOtherHadAsMuch) {
  shares.granted(red, 2.5);
  EXPECT_EQ(shares.order(queue({&red, &blue, &blue, &blue, &blue})), (Order{1, 2, 3, 0, 4}));
  shares.ended(red, -2.5);  // it took no time after all
  EXPECT_EQ(shares.order(queue({&red, &blue})), (Order{0, 1}));
  shares.ended(red, -9);  // nobody has a claim
  EXPECT_EQ(shares.order(queue({&blue, &red})), (Order{0, 1}));
}

TEST_F(Fair, PauseSavesNothingUp) {
  shares.granted(red, 100);
  shares.arrived(blue, queue({&red, &red}));  // blue had nothing so far
  EXPECT_EQ(shares.order(queue({&red, &red, &blue, &blue})), (Order{0, 2, 1, 3}));
}

TEST_F(Fair, WhoComesWhileOneAlwaysWorks_CountsFromIt) {
  for (int i = 0; i < 3600; ++i) shares.granted(red, 1);  // and none of its calls waits
  shares.arrived(blue, {});
  EXPECT_EQ(shares.order(queue({&blue, &blue, &red, &red})), (Order{0, 2, 1, 3}));
}

TEST_F(Fair, WhoWaitsAlready_OrOwes_IsNotLifted) {
  shares.granted(red, 5);
  shares.arrived(blue, queue({&red, &blue}));
  EXPECT_EQ(shares.order(queue({&red, &blue, &blue})), (Order{1, 2, 0}));
  shares.clear();
  shares.granted(red, 5);
  shares.arrived(red, queue({&blue}));
  EXPECT_EQ(shares.order(queue({&red, &blue})), (Order{1, 0}));
  shares.clear();
  EXPECT_EQ(shares.order(queue({&red, &blue})), (Order{0, 1}));
}

TEST_F(Fair, CallsThatGiveWay_ComeAfterAllOthers_AndAmongThemselvesInTurn) {
  shares.granted(red, 10);
  const std::vector<QueuedCall> waiting{{red, 1, true}, {blue, 1, true}, {red, 1}, {red, 1, true}};
  EXPECT_EQ(shares.order(waiting), (Order{2, 1, 0, 3}));
}

TEST(GivesWay, UntilHalfOfItsTimeIsOver_AndForThirtySecondsAtMost) {
  using namespace std::chrono_literals;
  EXPECT_TRUE(still_gives_way(4999ms, 10s));
  EXPECT_FALSE(still_gives_way(5s, 10s));
  EXPECT_TRUE(still_gives_way(29'999ms, 1h));
  EXPECT_FALSE(still_gives_way(30s, 1h));
  EXPECT_FALSE(still_gives_way(0s, 0s));
}

TEST_F(Fair, ManyTenants_AreForgottenFromTheLeastOn) {
  shares.granted(red, 50);
  for (int i = 0; i < 5000; ++i) shares.granted("t" + std::to_string(i), 1);
  EXPECT_EQ(shares.order(queue({&red, &blue})), (Order{1, 0}));
}

}  // namespace
}  // namespace glowplug::policy
