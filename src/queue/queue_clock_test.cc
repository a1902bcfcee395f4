#include "queue/queue_clock.h"

#include "queue/test_jobs.h"

namespace glowplug::queue {
namespace {

class QueueClockTest : public JobsTest {
 protected:
  // From one server to the next, which sees this reading.
  Duration gone(const ClockReading& then) {
    open();
    const Time before = clock_->now();
    reading_ = then;
    open();
    return clock_->now() - before;
  }
};

TEST_F(QueueClockTest, WhileItRuns_TheWallClockChangesNothing) {
  open();
  const Time before = clock_->now();
  reading_.wall += 24h;
  EXPECT_EQ(clock_->now(), before);
  reading_.wall -= 48h;
  reading_.boottime += 1500ms;
  EXPECT_EQ(clock_->now() - before, 1500ms);
}

TEST_F(QueueClockTest, NextServerOfTheSameBoot_GoesOnByBoottime) {
  ClockReading then = reading_;
  then.boottime += 90s;
  then.wall -= 24h;
  EXPECT_EQ(gone(then), 90s);
}

TEST_F(QueueClockTest, AfterABoot_TheWallClockCounts_WithinBounds) {
  ClockReading then = reading_;
  then.boot_id = "another";
  then.boottime = 5s;
  then.wall += 2h;
  EXPECT_EQ(gone(then), 2h);
  then.boot_id = "third";
  then.wall -= 24h;
  EXPECT_EQ(gone(then), 0s);
  then.boot_id = "fourth";
  then.wall += 24h * 4000;
  EXPECT_EQ(gone(then), kOffMax);
}

TEST_F(QueueClockTest, EachOpening_HasAnEpochOfItsOwn) {
  open();
  EXPECT_EQ(clock_->epoch(), 7U);
  open();
  EXPECT_EQ(clock_->epoch(), 8U);
}

TEST_F(QueueClockTest, SavedAnchor_IsWhereTheNextGoesOn) {
  open();
  reading_.boottime += 1h;
  ASSERT_TRUE(writer_->run(clock_->save()));
  const Time before = clock_->now();
  reading_.boot_id = "another";
  reading_.boottime = 0s;
  open();
  EXPECT_EQ(clock_->now(), before);
}

}  // namespace
}  // namespace glowplug::queue
