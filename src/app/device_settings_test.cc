#include "app/device_settings.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/yaml_document.h"

namespace glowplug::app {
namespace {

using domain::Device;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

struct Read {
  std::optional<std::vector<Device>> devices;
  std::vector<std::string> faults;
};

Read read(const std::string& yaml) {
  Read made;
  const auto document = models::parse_document("devices: " + yaml);
  EXPECT_TRUE(document.ok()) << document.error().message;
  domain::PriceTable prices = domain::default_prices();
  prices.push_back({"H100", {{4'000'000}, {0}}});
  made.devices = read_devices(document->at("devices"), &prices, made.faults);
  return made;
}

TEST(DeviceSettings, Rows_AreReadInTheirOrder) {
  const Read made = read(
      "[{type: A10G, memory: 24GiB, count: 4}, {type: H100, memory: 80GB},"
      " {name: big, type: A100, memory: 80GiB, count: 2}, {name: small, type: A100},"
      " {type: cpu, memory: 8GiB}]");
  EXPECT_THAT(made.faults, IsEmpty());
  EXPECT_THAT(
      *made.devices,
      ElementsAre(Device{.name = "A10G", .type = "A10G", .memory_bytes = 24 * kGiB, .count = 4},
                  Device{.name = "H100", .type = "H100", .memory_bytes = 80'000'000'000},
                  Device{.name = "big", .type = "A100", .memory_bytes = 80 * kGiB, .count = 2},
                  Device{.name = "small", .type = "A100", .memory_bytes = 40 * kGiB},
                  Device{.name = "CPU", .type = "CPU", .memory_bytes = 8 * kGiB}));
}

TEST(DeviceSettings, KnownType_NeedsNoMemory) {
  const Read made = read("[{type: T4}, {type: A10G}, {type: A100}, {type: CPU}]");
  ASSERT_TRUE(made.devices);
  std::vector<std::uint64_t> sizes;
  for (const Device& device : *made.devices) sizes.push_back(device.memory_bytes / kGiB);
  EXPECT_THAT(sizes, ElementsAre(16, 24, 40, 0));
}

TEST(DeviceSettings, EmptyList_IsNoAccelerator) {
  EXPECT_EQ(read("[]").devices, std::vector<Device>{});
}

TEST(DeviceSettings, EachFault_NamesItsRowAndWhatToDo) {
  const std::vector<std::pair<std::string, std::string>> table{
      {"{type: T4}", "devices: must be a list of rows as {type: A10G, memory: 24GiB, count: 4}"},
      {"[5]", "devices[0]: must be as {type: A10G"},
      {"[{}]", "devices[0].type: is missing; write a row as"},
      {"[{type: 5}]", "devices[0].type: must be text, not 5"},
      {"[{type: my gpu}]", "devices[0].type: must be up to 32 letters"},
      {"[{type: gpu}]", "and not auto, gpu or cuda"},
      {"[{name: AUTO, type: T4}]", "devices[0].name: must be up to 32"},
      {"[{type: T4, count: 0}]", "devices[0].count: must be"},
      {"[{type: T4, count: -1}]", "devices[0].count: must be"},
      {"[{type: T4, count: 10001}]", "devices[0].count: must be"},
      {"[{type: T4, count: 1.5}]", "devices[0].count: must be"},
      {"[{type: T4, memory: 0}]", "devices[0].memory: must be a size such as 24GiB, above zero"},
      {"[{type: T4, memory: 0GiB}]", "devices[0].memory: must be a size such as 24GiB, above zero"},
      {"[{type: T4, memory: -5}]", "devices[0].memory: must be a size"},
      {"[{type: T4, memory: much}]", "devices[0].memory: must be a size"},
      {"[{type: T4, memory: 2000000TiB}]", "devices[0].memory: must be a size"},
      {"[{type: H100}]", "devices[0].memory: is missing, and how much a H100 has is not known"},
      {"[{type: B200, memory: 1GiB}]",
       "devices[0].type: is B200, which has no price; add one as prices: {B200: {per_hour"},
      {"[{type: CPU, count: 2}]", "devices[0].count: of a CPU is 1"},
      {"[{type: CPU, name: host}]", "devices[0].name: of the CPU is CPU"},
      {"[{type: T4, name: cpu}]", "devices[0].name: of the CPU is CPU"},
      {"[{type: T4, size: 1}]", "devices[0].size: unknown key"},
      {"[{type: CPU}, {type: cpu}]", "devices[1] is a second CPU beside devices[0]"},
      {"[{type: T4}, {type: t4}]", "devices[1] is the same as devices[0]; raise the count there"},
      {"[{type: A100}, {type: A100, memory: 80GiB}]",
       "devices[1] is called A100 as devices[0] is, which has A100 of 42.9 GB each; give each"},
      {"[{name: x, type: T4}, {name: X, type: A100}]", "devices[1] is called X as devices[0] is"},
      {"[{type: T4}, {name: T4, type: A100}]", "devices[1] is called T4 as devices[0] is"},
      {"[{name: a, type: T4}, {name: t4, type: A100}]",
       "devices[1] and devices[0] mean different things by t4; choose another name"}};
  for (const auto& [yaml, fault] : table) {
    const Read made = read(yaml);
    EXPECT_EQ(made.devices, std::nullopt) << yaml;
    EXPECT_THAT(made.faults, ElementsAre(HasSubstr(fault))) << yaml;
  }
}

TEST(DeviceSettings, AllFaults_AreToldAtOnce) {
  EXPECT_THAT(read("[{type: T4, count: 0}, {type: H100}, 5, {type: A10G, memory: 0}]").faults,
              ElementsAre(HasSubstr("devices[0].count"), HasSubstr("devices[1].memory"),
                          HasSubstr("devices[2]"), HasSubstr("devices[3].memory")));
}

TEST(DeviceSettings, MoreDevicesThanAreAccepted) {
  const auto rows = [](int last) {
    return "[{name: c, type: T4, count: 2500}, {type: A10G, count: 2500}, {type: A100, count: "
           "2500}, {name: a, type: T4, count: 2400}, {name: b, type: T4, count: " +
           std::to_string(last) + "}]";
  };
  EXPECT_TRUE(read(rows(100)).devices);
  EXPECT_THAT(read(rows(101)).faults,
              ElementsAre("devices: are 10001 together; at most 10000 are accepted"));
}

}  // namespace
}  // namespace glowplug::app
