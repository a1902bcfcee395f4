#include "base/read_file.h"

#include <gtest/gtest.h>

namespace glowplug {
namespace {

TEST(ReadFile, FileOfUnknownSize_IsReadWhole) {
  const auto text = read_file("/proc/self/smaps");
  ASSERT_TRUE(text);
  EXPECT_GT(text->size(), 4096u);
  EXPECT_EQ(text->back(), '\n');
}

TEST(ReadFile, Missing_IsNothing) { EXPECT_FALSE(read_file("/nowhere/at/all")); }

TEST(ReadFile, OpensAndCannotBeRead_IsNothing) { EXPECT_FALSE(read_file("/proc/self")); }

}  // namespace
}  // namespace glowplug
