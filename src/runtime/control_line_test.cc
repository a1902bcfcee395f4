#include "runtime/control_line.h"

#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

TEST(ControlLine, Loading_CarriesItsProgressClamped) {
  EXPECT_DOUBLE_EQ(
      std::get<WorkerLoading>(*parse_control_line(R"({"state":"loading","progress":0.4})"))
          .progress,
      0.4);
  EXPECT_DOUBLE_EQ(
      std::get<WorkerLoading>(*parse_control_line(R"({"state":"loading","progress":7})")).progress,
      1);
  EXPECT_DOUBLE_EQ(std::get<WorkerLoading>(*parse_control_line(R"({"state":"loading"})")).progress,
                   0);
}

TEST(ControlLine, Ready_MayCarryMoreFields) {
  EXPECT_TRUE(std::holds_alternative<WorkerReady>(
      *parse_control_line(R"({"state":"ready","load_ms":12})")));
}

TEST(ControlLine, Ready_MaySayWhatItRead) {
  const auto read = [](const char* line) {
    return std::get<WorkerReady>(*parse_control_line(line)).bytes_read;
  };
  EXPECT_EQ(read(R"({"state":"ready","bytes_read":105500000})"), 105'500'000u);
  EXPECT_EQ(read(R"({"state":"ready","bytes_read":0})"), 0u);
  EXPECT_EQ(read(R"({"state":"ready"})"), std::nullopt);
  for (const char* value : {"-1", "0.5", "\"7\"", "null", "1e30"})
    EXPECT_FALSE(parse_control_line(std::string(R"({"state":"ready","bytes_read":)") + value + "}"))
        << value;
}

TEST(ControlLine, Failed_CarriesItsCausePrintable) {
  EXPECT_EQ(
      std::get<WorkerFailed>(*parse_control_line(R"({"state":"failed","cause":"no\u001bfile"})"))
          .cause,
      "no?file");
}

TEST(ControlLine, Kept_MaySayWhatWasShared) {
  const auto message = parse_control_line(
      R"({"state":"kept","count":2,"shared":[{"copy":1,"tokens":600,"prompts":3},{"copy":"x"},7]})");
  ASSERT_TRUE(message);
  const auto& kept = std::get<WorkerKept>(*message);
  EXPECT_EQ(kept.count, 2u);
  ASSERT_EQ(kept.shared.size(), 1u);
  EXPECT_EQ(kept.shared[0].copy, 1u);
  EXPECT_EQ(kept.shared[0].tokens, 600u);
  EXPECT_EQ(kept.shared[0].prompts, 3u);
}

TEST(ControlLine, Overwriting_IsAWordOfItsOwn) {
  const auto message = parse_control_line(R"({"state":"overwriting"})");
  ASSERT_TRUE(message);
  EXPECT_TRUE(std::holds_alternative<WorkerOverwriting>(*message));
}

TEST(ControlLine, BrokenLines_AreRefused) {
  for (const char* line : {"", "hello", "[]", "{}", R"({"state":1})", R"({"state":"asleep"})",
                           R"({"state":"failed"})", R"({"state":"loading","progress":"half"})",
                           R"({"state":"ready")", "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"})
    EXPECT_FALSE(parse_control_line(line)) << line;
}

}  // namespace
}  // namespace glowplug::runtime
