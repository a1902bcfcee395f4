#include "base/units.h"

#include <limits>

#include <gtest/gtest.h>

namespace glowplug {
namespace {

using namespace std::chrono_literals;

TEST(ParseDuration, ReadsOllamasGrammar) {
  EXPECT_EQ(parse_duration("10m"), Duration(10min));
  EXPECT_EQ(parse_duration("30"), Duration(30s));
  EXPECT_EQ(parse_duration("0"), Duration(0));
  EXPECT_EQ(parse_duration("-1"), kForever);
  EXPECT_EQ(parse_duration("-5m"), kForever);
  EXPECT_EQ(parse_duration("1h30m"), Duration(90min));
  EXPECT_EQ(parse_duration("1.5s"), Duration(1500ms));
  EXPECT_EQ(parse_duration("300ms"), Duration(300ms));
}

TEST(ParseDuration, RefusesWhatIsNone) {
  for (const char* text : {"", "-", "m", "5 m", "1h30", "5x", "ten", "1e400", "99999999999999h",
                           "5mm5", "nan", "inf", "1h nan", "-nan"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

TEST(ParseBytes, TellsDecimalFromBinaryUnits) {
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("1KB"), 1000u);
  EXPECT_EQ(parse_bytes("1.5 kB"), 1500u);  // as format_bytes() says it
  EXPECT_EQ(parse_bytes("1KiB"), 1024u);
  EXPECT_EQ(parse_bytes("1.5 GiB"), 1610612736u);
  EXPECT_EQ(parse_bytes("-1"), std::nullopt);
  EXPECT_EQ(parse_bytes("1GBx"), std::nullopt);
  EXPECT_EQ(parse_bytes("nan"), std::nullopt);
  EXPECT_EQ(parse_bytes("infGB"), std::nullopt);
  EXPECT_EQ(parse_bytes("99999999TiB"), std::nullopt);
}

TEST(Format, WritesWhatPeopleRead) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(94'300'000), "94.3 MB");
  EXPECT_EQ(format_duration(8400us), "8.4 ms");
  EXPECT_EQ(format_duration(300s), "5m");
  EXPECT_EQ(format_duration(90min), "1h30m");
  EXPECT_EQ(format_duration(kForever), "forever");
}

TEST(Micros, AreReadExactlyOrNotAtAll) {
  const std::pair<double, std::int64_t> cases[] = {
      {0, 0},
      {1, 1'000'000},
      {0.5, 500'000},
      {0.0001, 100},
      {0.00001, 10},
      {0.000001, 1},
      {0.05, 50'000},
      {0.1 + 0.2, 300'000},  // off by one in the last bit
      {1.000001, 1'000'001},
      {9'999'999.999999, 9'999'999'999'999},
      {1e7, 10'000'000'000'000}};
  for (const auto& [units, micros] : cases) EXPECT_EQ(micros_of(units), micros) << units;
  for (const double units :
       {-0.1, 0.0000001, 1e-300, 0.0000015, 1.0000001, 0.00000099, 9'999'999.9999995, 1e7 + 1,
        1e300, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()})
    EXPECT_EQ(micros_of(units), std::nullopt) << units;
}

TEST(Micros, OfAText_AreExact) {
  EXPECT_EQ(parse_micros("2.5"), 2'500'000);
  EXPECT_EQ(parse_micros("0"), 0);
  EXPECT_EQ(parse_micros("0.000001"), 1);
  EXPECT_EQ(parse_micros("007.10"), 7'100'000);
  EXPECT_EQ(parse_micros("9223372036854.775807"), INT64_MAX);
  for (const char* bad : {"", ".", ".5", "5.", "-1", "+1", "1e3", "1 ", "0.0000001", "1,5", "nan",
                          "9223372036854.775808", "99999999999999999999", "1.2.3", "0.-1"})
    EXPECT_EQ(parse_micros(bad), std::nullopt) << bad;
}

TEST(Micros, AreWrittenWithAllSixDecimals) {
  EXPECT_EQ(format_micros(0), "0.000000");
  EXPECT_EQ(format_micros(200), "0.000200");
  EXPECT_EQ(format_micros(10'666'667), "10.666667");
  EXPECT_EQ(format_micros(-1), "-0.000001");
  EXPECT_EQ(format_micros(INT64_MAX), "9223372036854.775807");
  EXPECT_EQ(format_micros(INT64_MIN), "-9223372036854.775808");
}

}  // namespace
}  // namespace glowplug
