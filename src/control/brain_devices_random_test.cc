// Devices in the brain under events in any order.
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

constexpr std::uint64_t kGB = 1'000'000'000;
constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// The same for the same seed, everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u) {}
  std::uint64_t below(std::uint64_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % bound;
  }

 private:
  std::uint64_t state_;
};

class AnyOrder {
 public:
  explicit AnyOrder(std::uint64_t seed) : random_(seed) {
    for (const double size : {3, 6, 9, 12, 20, 35, 60}) {
      domain::Manifest made = world_.manifest("f" + std::to_string(functions_++));
      made.resources.memory_bytes = static_cast<std::uint64_t>(size * 1e9);
      made.keep_alive = 20s;
      world_.deploy(made);
    }
  }

  void step() {
    notice();
    switch (random_.below(6)) {
      case 0:
      case 1: world_.call("f" + std::to_string(random_.below(functions_))); break;
      case 2:
        if (!alive_.empty()) world_.post(ProcessReady{any()});
        break;
      case 3: end_a_call(); break;
      case 4:
        if (stops_ < world_.stopped.size())
          end(world_.stopped[stops_++], Ending::Asked);
        else if (!alive_.empty() && random_.below(4) == 0)
          end(any(), Ending::Itself);
        break;
      default:
        if (const std::uint64_t bytes = random_.below(30) * kGB;
            !alive_.empty() && bytes > 20 * kGB)
          world_.post(MemoryMeasured{any(), bytes, bytes});
        world_.pass(std::chrono::milliseconds(random_.below(3000)));
    }
  }
  void end_all() {
    notice();
    world_.post(DrainStarted{});
    for (const domain::ProcessId process : alive_) world_.post(ProcessGone{process, "", {}});
  }
  const World& world() const { return world_; }

 private:
  void notice() {
    for (; starts_ < world_.started.size(); ++starts_)
      alive_.push_back(world_.started[starts_].process);
    for (; grants_ < world_.granted.size(); ++grants_)
      running_.push_back(world_.granted[grants_].call);
  }
  domain::ProcessId any() { return alive_[random_.below(alive_.size())]; }
  void end(domain::ProcessId process, Ending ending) {
    std::erase(alive_, process);
    world_.post(ProcessGone{process, "ended", ending});
  }
  void end_a_call() {
    if (running_.empty()) return;
    std::swap(running_.back(), running_[random_.below(running_.size())]);
    world_.post(CallEnded{running_.back()});
    running_.pop_back();
  }

  Random random_;
  World world_{BrainOptions{.memory_bytes = 200 * kGB,
                            .cores = 4,
                            .accelerators = {{"T4", "T4", 16 * kGiB, 2},
                                             {"A10G", "A10G", 24 * kGiB, 1},
                                             {"A100", "A100", 40 * kGiB, 2}}}};
  std::size_t functions_ = 0, starts_ = 0, stops_ = 0, grants_ = 0;
  std::vector<domain::CallId> running_;
  std::vector<domain::ProcessId> alive_;
};

// No device is ever promised more than it has, and at the end everything is given back.
TEST(DevicesAtRandom, NothingIsOverCommittedAndNothingLeaks) {
  std::size_t starts = 0, grants = 0, evicted = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    AnyOrder order(seed);
    for (int i = 0; i < 300; ++i) {
      order.step();
      for (const DeviceView& view : order.world().brain.devices())
        ASSERT_TRUE(view.device.is_cpu() || view.reserved_bytes <= view.device.memory_bytes)
            << view.device.name << " at " << i;
    }
    starts += order.world().started.size();
    grants += order.world().granted.size();
    for (const Decision& one : order.world().decisions)
      evicted += one.reason.find("evicted") != std::string::npos ? 1 : 0;
    order.end_all();
    for (const DeviceView& view : order.world().brain.devices())
      ASSERT_EQ(view.reserved_bytes, 0u) << view.device.name;
  }
  EXPECT_GT(starts, 1'000u);  // it was not all waiting
  EXPECT_GT(grants, 1'000u);
  EXPECT_GT(evicted, 100u);
}

}  // namespace
}  // namespace glowplug::control
