#include "runtime/log_ring.h"

#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

using Lines = std::vector<std::string>;

LineSplitter::Sink into(Lines& lines) {
  return [&lines](std::string_view line, LineEnd end) {
    lines.push_back(std::string(line) + (end == LineEnd::Cut ? "|cut" : ""));
  };
}

TEST(LineSplitter, PiecesOfLines_ComeOutWhole) {
  LineSplitter splitter(10);
  Lines lines;
  for (const char* piece : {"on", "e\ntw", "o\n\nthr", "ee"}) splitter.feed(piece, into(lines));
  splitter.finish(into(lines));
  EXPECT_EQ(lines, (Lines{"one", "two", "", "three"}));
}

TEST(LineSplitter, LongLine_LosesItsEndOnly) {
  LineSplitter splitter(4);
  Lines lines;
  splitter.feed("abcd\nabcdef", into(lines));
  EXPECT_TRUE(splitter.over());
  splitter.feed("ghi\nxy\n", into(lines));
  EXPECT_FALSE(splitter.over());
  EXPECT_EQ(lines, (Lines{"abcd", "abcd|cut", "xy"}));
}

TEST(LogRing, MoreLinesThanItHolds_OldestGo) {
  LogRing ring(2, 1000);
  for (const char* line : {"a", "b", "c"}) ring.push(line);
  EXPECT_EQ(ring.lines(), (Lines{"b", "c"}));
}

TEST(LogRing, MoreBytesThanItHolds_OldestGoAndTheNewestStays) {
  LogRing ring(100, 5);
  for (const char* line : {"aaa", "bbb"}) ring.push(line);
  EXPECT_EQ(ring.lines(), (Lines{"bbb"}));
  ring.push("a line that is larger than all of it");
  EXPECT_EQ(ring.lines().size(), 1u);
}

TEST(Printable, ControlAndBrokenBytes_BecomeQuestionMarks) {
  EXPECT_EQ(printable("a\x1b[31mb\tc\x7f"), "a?[31mb\tc?");
  EXPECT_EQ(printable("grün € \xF0\x9F\x98\x80"), "grün € \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("\xff\xc3(\xe2\x82"), std::string("??") + "(??");
  EXPECT_EQ(printable("\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80"), "?????????");
}

}  // namespace
}  // namespace glowplug::runtime
