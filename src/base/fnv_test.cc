#include "base/fnv.h"

#include <gtest/gtest.h>

namespace glowplug {
namespace {

// As the algorithm's authors list them.
TEST(Fnv, Texts_GiveThePublishedNumbers) {
  EXPECT_EQ(fnv(""), 0xcbf29ce484222325U);
  EXPECT_EQ(fnv("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(fnv("foobar"), 0x85944171f73967e8U);
}

TEST(Fnv, BytesAbove127_CountAsThemselves) {
  Fnv by_unit;
  by_unit.step(0xffU);
  EXPECT_EQ(fnv("\xff"), by_unit.value());
}

TEST(Fnv, GoesOnFromWhereItWas) {
  Fnv first;
  first.add("foo");
  Fnv rest(first.value());
  rest.add("bar");
  EXPECT_EQ(rest.value(), fnv("foobar"));
}

}  // namespace
}  // namespace glowplug
