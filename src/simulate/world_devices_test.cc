// A fleet of declared devices in a simulated world: who is placed where, how fast it is there, what
// a device that fails does to the others.
#include <gtest/gtest.h>

#include "simulate/generator.h"
#include "simulate/single_run.h"
#include "simulate/test_world.h"

namespace glowplug::simulate {
namespace {

constexpr std::uint64_t kGigabyte = 1'000 * kMegabyte;

WorldModel fleet(std::vector<domain::Device> devices) {
  WorldModel model = exact();
  model.starts.load_s_per_gb = 0.1;
  model.machine.page_cache_bytes = 1'000 * kGigabyte;
  model.machine.devices = std::move(devices);
  model.machine.memory_bytes = 1'000 * kGigabyte;
  return model;
}

ModelProfile of_size(const std::string& name, std::uint64_t bytes) {
  ModelProfile profile;
  profile.name = name;
  profile.file_bytes = profile.weight_bytes = bytes;
  return profile;
}

class WorldDevices : public WatchedWorld {
 protected:
  std::string type_of(const CallResult& result) const {
    return result.device ? world->devices().at(result.device->value).type : "CPU";
  }
};

TEST_F(WorldDevices, MixedFleet_PlacesEachFunctionByItsSize) {
  WorldModel mixed =
      fleet({{.name = "T4", .type = "T4", .memory_bytes = 16 * kGigabyte},
             {.name = "A10G", .type = "A10G", .memory_bytes = 48 * kGigabyte},
             {.name = "A100", .type = "A100", .memory_bytes = 80 * kGigabyte, .count = 2}});
  for (const auto& [bytes, type] :
       {std::pair(7 * kGigabyte, "T4"), std::pair(30 * kGigabyte, "A10G"),
        std::pair(30 * kGigabyte + 1, "A100")}) {
    mixed.models = {of_size("m", bytes)};
    make(mixed);
    const CallResult& result = answer(world->deploy("f"), 195);
    EXPECT_EQ(result.outcome, CallOutcome::Answered) << result.error;
    EXPECT_EQ(type_of(result), type) << bytes;
  }
}

TEST_F(WorldDevices, OnADevice_TakesNoCoresAndIsSoManyTimesAsFast) {
  WorldModel one = fleet({{.name = "T4", .type = "T4", .memory_bytes = 16 * kGigabyte}});
  one.speeds = {{"T4", 5}};
  make(one);
  const CallResult& result = answer(world->deploy("f"), 195);
  EXPECT_EQ(type_of(result), "T4");
  EXPECT_EQ(world->busy_core_seconds(), 0);
  // 195 tokens at 5 × 195 a second, and the gateway.
  EXPECT_NEAR(to_ms(*result.first_token - *result.granted), 200 + 0.6, 0.1);
}

TEST_F(WorldDevices, FullFleet_MakesRoomByStoppingWhatIsIdle) {
  WorldModel small = fleet({{.name = "T4", .type = "T4", .memory_bytes = 5 * kGigabyte}});
  small.models = {of_size("m", 3 * kGigabyte)};
  make(small);
  const std::uint32_t first = world->deploy("a"), second = world->deploy("b");
  for (const std::uint32_t function : {first, second, first}) {
    const CallResult& result = answer(function, 195);
    EXPECT_EQ(result.outcome, CallOutcome::Answered) << result.error;
    EXPECT_TRUE(result.cold);
    EXPECT_EQ(type_of(result), "T4");
  }
}

TEST_F(WorldDevices, DeviceThatFailsStarts_IsLeftOutAndComesBack) {
  make(fleet({{.name = "T4", .type = "T4", .memory_bytes = 16 * kGigabyte, .count = 2}}));
  world->break_device({0}, 10min);
  const std::uint32_t function = world->deploy("f");
  for (int i = 0; i < 20; ++i) {
    const CallResult& result = answer(function, 195);
    EXPECT_EQ(result.outcome, CallOutcome::Answered) << result.error;
    EXPECT_EQ(result.device, domain::DeviceId{1});
    world->post(control::StopWanted{"f"});
    world->run_until(world->now() + 10s);
  }
}

TEST(WorldDevicesRun, TenThousandDevices_ServeAndArePriced) {
  RunSetup setup{
      .model = fleet(
          {{.name = "A10G", .type = "A10G", .memory_bytes = 24 * kGigabyte, .count = 10'000}})};
  setup.model.machine.memory_bytes = 300'000 * kGigabyte;
  setup.model.function.slots = 1;
  const auto source = make_generator({.functions = 200, .requests_per_s = 20, .length = 60s});
  ASSERT_TRUE(source.ok());
  const auto outcome = run_once(setup, **source);
  ASSERT_TRUE(outcome.ok()) << outcome.error().message;
  EXPECT_FALSE(outcome->violation) << outcome->violation->what;
  const Figures& figures = outcome->figures;
  EXPECT_EQ(figures.answered, figures.calls);
  const Figures::DeviceUse& use = figures.devices.at("A10G");
  EXPECT_EQ(use.there, 10'000);
  EXPECT_EQ(use.answered, figures.answered);
  EXPECT_GT(use.most, 0);
  const auto bill = bill_of(figures, setup.model);
  ASSERT_TRUE(bill.ok());
  EXPECT_EQ(bill->fees.micros, static_cast<std::int64_t>(200 * figures.answered));
  // At 1.0 an hour.
  EXPECT_NEAR(static_cast<double>(bill->held.micros), use.device_s / 3600 * 1e6, 1e3);
}

}  // namespace
}  // namespace glowplug::simulate
