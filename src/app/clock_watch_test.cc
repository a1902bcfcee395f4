#include "app/clock_watch.h"

#include <gtest/gtest.h>

namespace glowplug::app {
namespace {

using namespace std::chrono_literals;

class ClockWatchTest : public testing::Test {
 protected:
  // Until it has looked so many times more.
  void look(int times = 1) {
    for (const int end = clock_.looks + times; clock_.looks < end;)
      ASSERT_EQ(loop_.run_one_for(10s), 1u) << "it looks no more";
  }

  class CountingClock final : public Clock {
   public:
    Time now() const override { return monotonic; }
    WallTime wall_now() const override {
      ++looks;
      return wall;
    }
    Time monotonic{100h};
    WallTime wall{500'000h};
    mutable int looks = 0;
  };

  boost::asio::io_context loop_;
  CountingClock clock_;
  int told_ = 0;
  ClockWatch watch_{
      {.loop = loop_, .clock = clock_, .was_set = [this] { ++told_; }, .look_every = 1ms}};
};

TEST_F(ClockWatchTest, TimeThatPasses_IsNoStep) {
  for (int i = 0; i < 3; ++i) {
    clock_.monotonic += 24h;
    clock_.wall += 24h;
    look();
  }
  EXPECT_EQ(told_, 0);
}

TEST_F(ClockWatchTest, SetOnAndBack_IsToldOnceEach) {
  clock_.wall += 24h;
  look(3);
  EXPECT_EQ(told_, 1);
  clock_.wall -= 48h;
  look(3);
  EXPECT_EQ(told_, 2);
}

TEST_F(ClockWatchTest, Slewing_IsNoStep) {
  for (int i = 0; i < 5; ++i) {
    clock_.monotonic += 5s;
    clock_.wall += 5003ms;
    look();
  }
  EXPECT_EQ(told_, 0);
}

}  // namespace
}  // namespace glowplug::app
