// The wiring of measurements with a kernel that is asked by the test.
#include "app/memory_watch.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::app {
namespace {

using namespace std::chrono_literals;
using Id = domain::ProcessId;

class MemoryWatchTest : public testing::Test {
 protected:
  ~MemoryWatchTest() override { let_go(); }  // or it would be waited for

  bool comes(const std::function<bool()>& reached) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!reached() && std::chrono::steady_clock::now() < end) {
      loop_.restart();
      loop_.run_one_for(50ms);
    }
    return reached();
  }
  void let_go() {
    held_ = false;
    held_.notify_all();
  }
  MemoryWatch::Parts parts(const Clock& clock) {
    return {.loop = loop_,
            .clock = clock,
            .pid_of = [](Id process) -> std::optional<pid_t> {
              if (process.value == 3) return std::nullopt;
              return static_cast<pid_t>(process.value * 10);
            },
            .measure = [this](pid_t pid) { return measure(pid); },
            .measured = [this](const control::MemoryMeasured& one) { told_.push_back(one); }};
  }
  std::optional<runtime::MemoryUse> measure(pid_t pid) {
    ++measured_;
    elsewhere_ = std::this_thread::get_id() != test_;
    held_.wait(true);
    if (pid == 40) return std::nullopt;
    return runtime::MemoryUse{.proportional = 7, .own = 5, .mapped = 9};
  }

  const std::thread::id test_ = std::this_thread::get_id();
  boost::asio::io_context loop_;
  SystemClock clock_;
  std::atomic<int> measured_ = 0;
  std::atomic<bool> elsewhere_ = false;
  std::atomic<bool> held_ = false;  // the thread stays within a measurement
  std::vector<control::MemoryMeasured> told_;
  MemoryWatch watch_{parts(clock_)};
};

TEST_F(MemoryWatchTest, ReadyProcess_IsMeasuredOnAnotherThreadAndTold) {
  watch_.ready({1});
  ASSERT_TRUE(comes([this] { return !told_.empty(); }));
  EXPECT_TRUE(elsewhere_);
  EXPECT_EQ(told_[0].process, Id{1});
  EXPECT_EQ(told_[0].own_bytes, 5u);
  EXPECT_EQ(told_[0].mapped_bytes, 9u);
  EXPECT_EQ(watch_.bytes_of({1}), 7u);  // what is known is not measured again at once
  EXPECT_EQ(measured_, 1);
}

TEST_F(MemoryWatchTest, NeverMeasured_IsLookedAtForWhoeverAsks) {
  ManualClock stands;  // else there may be more than a moment between two questions
  MemoryWatch watch(parts(stands));
  EXPECT_EQ(watch.bytes_of({1}), 7u);
  EXPECT_FALSE(elsewhere_);
  EXPECT_EQ(watch.bytes_of({1}), 7u);
  EXPECT_EQ(measured_, 1);
  stands.advance(100ms);
  EXPECT_EQ(watch.bytes_of({1}), 7u);
  EXPECT_EQ(measured_, 2);
  EXPECT_EQ(watch.bytes_of({3}), 0u);  // unborn
  EXPECT_EQ(watch.bytes_of({4}), 0u);  // not ours to look at
}

TEST_F(MemoryWatchTest, GoneWhileItWasMeasured_IsNotTold) {
  held_ = true;
  watch_.ready({1});
  ASSERT_TRUE(comes([this] { return measured_ > 0; }));
  watch_.gone({1});
  let_go();
  watch_.ready({2});
  ASSERT_TRUE(comes([this] { return !told_.empty(); }));
  EXPECT_EQ(told_[0].process, Id{2});
}

TEST_F(MemoryWatchTest, UnbornOne_DoesNotHoldUpTheOthers) {
  watch_.ready({3});
  watch_.ready({2});
  ASSERT_TRUE(comes([this] { return !told_.empty(); }));
  EXPECT_EQ(told_[0].process, Id{2});
}

}  // namespace
}  // namespace glowplug::app
