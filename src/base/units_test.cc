#include "base/units.h"

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
  for (const char* text :
       {"", "-", "m", "5 m", "1h30", "5x", "ten", "1e400", "99999999999999h", "5mm5"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

TEST(ParseBytes, TellsDecimalFromBinaryUnits) {
  EXPECT_EQ(parse_bytes("4096"), 4096u);
  EXPECT_EQ(parse_bytes("1KB"), 1000u);
  EXPECT_EQ(parse_bytes("1KiB"), 1024u);
  EXPECT_EQ(parse_bytes("1.5 GiB"), 1610612736u);
  EXPECT_EQ(parse_bytes("-1"), std::nullopt);
  EXPECT_EQ(parse_bytes("1GBx"), std::nullopt);
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

}  // namespace
}  // namespace glowplug
