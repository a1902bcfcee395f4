// Who starves has what comes free to itself for a while: memory, devices, money.
#include <gtest/gtest.h>

#include "control/test_world.h"

namespace glowplug::control {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

// Two of the smalls fill what there is, and the large one needs all of it.
class Claims : public ::testing::Test {
 protected:
  void start(const domain::Manifest& small) {
    for (const char* name : {"a", "b", "c"}) {
      domain::Manifest made = small;
      made.name = name;
      world.deploy(made);
    }
    for (const char* name : {"a", "b"}) {
      calls.push_back(world.call(name));
      world.ready(world.started.size() - 1);
    }
  }
  // A second after it starves, the first of the smalls is gone and another calls.
  void starve(const domain::Manifest& large) {
    world.deploy(large);
    world.call("large");
    world.pass(11s);
    world.call("c");
    end(0);
  }
  void end(std::size_t at) {
    world.post(CallEnded{calls.at(at)});
    ASSERT_EQ(world.stopped.size(), at + 1);
    world.post(ProcessGone{world.stopped[at], "stopped", Ending::Asked});
  }
  void expect_it_waits_and_starts() {
    EXPECT_EQ(world.started.size(), 2u) << world.started.back().manifest.name;
    end(1);
    ASSERT_EQ(world.started.size(), 3u);
    EXPECT_EQ(world.started[2].manifest.name, "large");
  }
  World world{200};
  std::vector<domain::CallId> calls;
};

TEST_F(Claims, OfMemory_WhatASmallOneWouldTakeIsKept) {
  start(world.manifest("a"));
  starve(world.manifest("large", 200));
  expect_it_waits_and_starts();
}

TEST_F(Claims, EndAfterAsLong_AndTheOthersHaveTheirTurn) {
  start(world.manifest("a"));
  starve(world.manifest("large", 200));
  world.pass(8s);
  EXPECT_EQ(world.started.size(), 2u);
  world.pass(1s);
  ASSERT_EQ(world.started.size(), 3u);
  EXPECT_EQ(world.started[2].manifest.name, "c");
}

TEST_F(Claims, LeaveTheRestToOthers) {
  world.use({.memory_bytes = 300 * kMB, .cores = 4});
  start(world.manifest("a"));
  world.deploy(world.manifest("d"));
  calls.push_back(world.call("d"));
  world.ready(2);
  starve(world.manifest("large", 200));
  ASSERT_EQ(world.started.size(), 3u);
  end(1);
  ASSERT_EQ(world.started.size(), 4u);
  EXPECT_EQ(world.started[3].manifest.name, "large");
}

TEST_F(Claims, OfADevice_WhatASmallOneWouldTakeIsKept) {
  const auto sized = [this](const std::string& name, std::uint64_t gigabytes) {
    domain::Manifest made = world.manifest(name);
    made.resources.memory_bytes = gigabytes * kGiB;
    return made;
  };
  world.use(
      {.memory_bytes = 1000 * kMB,
       .cores = 4,
       .accelerators = {{.name = "T4", .type = "T4", .memory_bytes = 16 * kGiB, .count = 1}}});
  start(sized("a", 7));
  starve(sized("large", 14));
  expect_it_waits_and_starts();
}

TEST_F(Claims, OfMoney_WhatACheapOneWouldTakeIsKept) {
  world.use({.memory_bytes = 1000 * kMB,
             .cores = 4,
             .accelerators = {{"T4", "T4", 16 * kGiB, 4}, {"A10G", "A10G", 24 * kGiB, 4}},
             .budget_per_hour = {1'000'000}});  // an A10G, or two T4
  domain::Manifest small = world.manifest("a"), large = world.manifest("large");
  small.resources.device = "T4";
  large.resources.device = "A10G";
  start(small);
  starve(large);
  expect_it_waits_and_starts();
}

}  // namespace
}  // namespace glowplug::control
