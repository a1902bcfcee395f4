#include "app/price_settings.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/yaml_document.h"

namespace glowplug::app {
namespace {

using domain::DevicePrice;
using domain::PriceTable;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Read {
  std::optional<PriceTable> prices;
  std::vector<std::string> faults;
};

Read read(const std::string& yaml) {
  Read made;
  const auto document = models::parse_document(yaml);
  EXPECT_TRUE(document.ok()) << document.error().message;
  made.prices = read_prices(*document, made.faults);
  return made;
}

TEST(PriceSettings, NoRows_AreTheDefaultTable) {
  EXPECT_EQ(read("{}").prices, domain::default_prices());
}

TEST(PriceSettings, Row_ReplacesTheDefaultInItsPlaceOrAddsADevice) {
  const auto made = read(
      "{H100: {per_hour: 4, per_request: 0.001}, t4: {per_hour: 0.35, per_request: 0},"
      " CPU: {per_hour: 0.000001, per_request: 1e-6}}");
  const PriceTable defaults = domain::default_prices();
  ASSERT_THAT(made.faults, ElementsAre());
  EXPECT_THAT(*made.prices, ElementsAre(DevicePrice{"t4", {{350'000}, {0}}}, defaults[1],
                                        defaults[2], DevicePrice{"CPU", {{1}, {1}}},
                                        DevicePrice{"H100", {{4'000'000}, {1'000}}}));
}

TEST(PriceSettings, Bounds_AreTaken) {
  EXPECT_EQ(read("X: {per_hour: 1000000, per_request: 999999.999999}").prices->back(),
            (DevicePrice{"X", {{1'000'000'000'000}, {999'999'999'999}}}));
  EXPECT_TRUE(read(std::string(32, 'x') + ": {per_hour: 0, per_request: 0}").prices);
}

TEST(PriceSettings, Fault_NamesTheFieldAndTheFix) {
  const std::string number = "must be a number from 0 to 1000000 with six decimals at most, as ";
  const std::string row = "must be as {per_hour: 0.5, per_request: 0.0001}, not ";
  const std::pair<std::string, std::string> cases[] = {
      {"5",
       "prices: must be a mapping of devices, as T4: {per_hour: 0.5, per_request: 0.0001}, "
       "not 5"},
      {"[T4]", "prices: must be a mapping of devices"},
      {"T4: 0.5", "prices.T4: " + row + "5E-1"},
      {"T4:", "prices.T4: " + row + "null"},
      {"T4: [0.5, 0.1]", "prices.T4: " + row + "a list"},
      {"T4: {per_hour: 1}", "prices.T4.per_request: is missing; write 0 where it costs nothing"},
      {"T4: {per_request: 1}", "prices.T4.per_hour: is missing"},
      {"T4: {per_hour: 1, per_request: null}", "prices.T4.per_request: is missing"},
      {"T4: {per_hour: -1, per_request: 1}", "prices.T4.per_hour: " + number + "0.5, not -1"},
      {"T4: {per_hour: 1, per_request: -0.1}", "prices.T4.per_request: " + number + "0.0001, not"},
      {"T4: {per_hour: 1000001, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: 1000000.000001, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: 99999999999999999999, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: 0.0000001, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: 1.0000005, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: '1', per_request: 1}", "prices.T4.per_hour: " + number + "0.5, not \"1\""},
      {"T4: {per_hour: .nan, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: true, per_request: 1}", "prices.T4.per_hour: " + number},
      {"T4: {per_hour: 1, per_request: 1, per_hr: 1}",
       "prices.T4.per_hr: unknown key; did you mean \"per_hour\"?"},
      {"'A 10': {per_hour: 1, per_request: 1}", "prices.A 10: is no device's name; use up to 32"},
      {"{T4: {per_hour: 1, per_request: 1}, t4: {per_hour: 1, per_request: 1}}",
       "prices.t4: is the same device as T4; leave one out"}};
  for (const auto& [yaml, wanted] : cases) {
    const Read made = read(yaml);
    EXPECT_THAT(made.faults, ElementsAre(HasSubstr(wanted))) << yaml;
    EXPECT_FALSE(made.prices) << yaml;
  }
}

TEST(PriceSettings, Faults_AreAllTold) {
  EXPECT_EQ(read("{T4: 1, A100: {per_hour: x}, 'a b': 2}").faults.size(), 4u);
}

TEST(PriceSettings, MoreDevicesThanTheLimit_AreRefused) {
  const auto rows = [](std::size_t count) {
    std::string yaml;
    for (std::size_t i = 0; i < count; ++i)
      yaml += "gpu" + std::to_string(i) + ": {per_hour: 1, per_request: 1}\n";
    return read(yaml);
  };
  const std::size_t most = domain::kPricesMax - domain::default_prices().size();
  EXPECT_EQ(rows(most).prices->size(), domain::kPricesMax);
  EXPECT_THAT(rows(most + 1).faults, ElementsAre(HasSubstr("at most 64 are accepted")));
}

}  // namespace
}  // namespace glowplug::app
