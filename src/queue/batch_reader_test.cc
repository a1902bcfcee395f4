#include "queue/batch_reader.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "domain/limits.h"

namespace glowplug::queue {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kChat = "/v1/chat/completions";

std::string line(const std::string& id, const std::string& model = "fn",
                 const std::string& url = "/v1/chat/completions") {
  return fmt::format(
      R"({{"custom_id":"{}","method":"POST","url":"{}","body":{{"model":"{}","messages":[]}}}})",
      id, url, model);
}

class BatchFile : public ::testing::Test {
 protected:
  BatchFile() {
    std::string path = "/tmp/gp-batch-XXXXXX";
    const int fd = ::mkstemp(path.data());
    EXPECT_GE(fd, 0);
    ::close(fd);
    path_ = path;
  }
  ~BatchFile() override { std::filesystem::remove(path_); }

  void write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  Result<BatchReader> reader() { return BatchReader::open(path_, std::string(kChat)); }

  // All of it, in pieces of few lines.
  BatchCheck check(std::size_t lines_max = 50, std::size_t listed = 5) {
    BatchCheck result({lines_max, listed, std::max<std::size_t>(lines_max, 1000)});
    Result<BatchReader> opened = reader();
    EXPECT_TRUE(opened);
    while (true) {
      const Result<BatchReader::Piece> piece = opened->next(3, 1 << 20);
      EXPECT_TRUE(piece);
      result.add(*piece, [this](const std::string& model) {
        asked_.push_back(model);
        return model == "fn";
      });
      if (piece->end) break;
    }
    result.end();
    return result;
  }

  std::string path_;
  std::vector<std::string> asked_;
};

TEST(BatchLines, AGoodLine_KeepsItsBody) {
  const auto read = read_batch_line(line("a"), 7, kChat);
  ASSERT_TRUE(std::holds_alternative<BatchLine>(read));
  const BatchLine& good = std::get<BatchLine>(read);
  EXPECT_EQ(good.line, 7U);
  EXPECT_EQ(good.custom_id, "a");
  EXPECT_EQ(good.model, "fn");
  EXPECT_EQ(good.body, R"({"model":"fn","messages":[]})");
}

TEST(BatchLines, Faults_NameTheFieldAndTheLine) {
  const std::string body = R"("body":{"model":"fn"})";
  const std::string url = R"("url":"/v1/chat/completions")";
  const std::vector<std::pair<std::string, std::string>> cases{
      {"{", ""},
      {"[1]", ""},
      {std::string(100, '['), ""},
      {R"({"method":"POST",)" + url + "," + body + "}", "custom_id"},
      {R"({"custom_id":7,"method":"POST",)" + url + "," + body + "}", "custom_id"},
      {R"({"custom_id":"","method":"POST",)" + url + "," + body + "}", "custom_id"},
      {line(std::string(domain::kCustomIdBytesMax + 1, 'x')), "custom_id"},
      {R"({"custom_id":"a","method":"GET",)" + url + "," + body + "}", "method"},
      {R"({"custom_id":"a","method":"POST",)" + body + "}", "url"},
      {line("a", "fn", "/v1/embeddings"), "url"},
      {R"({"custom_id":"a","method":"POST",)" + url + "}", "body"},
      {R"({"custom_id":"a","method":"POST",)" + url + R"(,"body":"x"})", "body"},
      {R"({"custom_id":"a","method":"POST",)" + url + R"(,"body":{}})", "body.model"},
      {R"({"custom_id":"a","method":"POST",)" + url + R"(,"body":{"model":"fn","stream":true}})",
       "body.stream"}};
  for (const auto& [text, param] : cases) {
    const auto read = read_batch_line(text, 9, kChat);
    ASSERT_TRUE(std::holds_alternative<BatchFault>(read)) << text;
    EXPECT_EQ(std::get<BatchFault>(read).param, param) << text;
    EXPECT_EQ(std::get<BatchFault>(read).line, 9U);
  }
}

TEST(BatchLines, EmbeddingInputs_AreCounted) {
  const auto inputs = [](const std::string& input) {
    const auto read = read_batch_line(
        R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"fn","input":)" +
            input + "}}",
        1, "/v1/embeddings");
    return std::get<BatchLine>(read).inputs;
  };
  EXPECT_EQ(inputs(R"("x")"), 1U);
  EXPECT_EQ(inputs(R"(["x","y","z"])"), 3U);
  EXPECT_EQ(inputs("[1,2,3]"), 1U);
  EXPECT_EQ(inputs("[[1,2],[3]]"), 2U);
}

TEST_F(BatchFile, BlankLinesByteOrderMarkAndMissingLastEnd) {
  write("\xEF\xBB\xBF" + line("a") + "\r\n\n   \n" + line("b"));
  Result<BatchReader> opened = reader();
  const auto piece = opened->next(10, 1 << 20);
  ASSERT_TRUE(piece);
  EXPECT_TRUE(piece->end);
  EXPECT_TRUE(piece->faults.empty());
  ASSERT_EQ(piece->lines.size(), 2U);
  EXPECT_EQ(piece->lines[1].line, 4U);
}

TEST_F(BatchFile, Skip_GoesOnBehindTheLine) {
  write(line("a") + "\n{bad\n" + line("b") + "\n" + line("c") + "\n");
  Result<BatchReader> opened = reader();
  ASSERT_TRUE(opened->skip(2));
  const auto piece = opened->next(10, 1 << 20);
  ASSERT_EQ(piece->lines.size(), 2U);
  EXPECT_EQ(piece->lines[0].custom_id, "b");
  EXPECT_EQ(piece->lines[0].line, 3U);
}

TEST_F(BatchFile, PieceBounds_HoldByLinesAndBytes) {
  write(line("a") + "\n" + line("b") + "\n" + line("c") + "\n");
  Result<BatchReader> opened = reader();
  EXPECT_EQ(opened->next(2, 1 << 20)->lines.size(), 2U);
  EXPECT_EQ(opened->next(2, 1 << 20)->lines.size(), 1U);
  Result<BatchReader> again = reader();
  EXPECT_EQ(again->next(9, 1)->lines.size(), 1U);
}

TEST_F(BatchFile, LineThatIsTooLong_IsAFaultAndTheNextIsRead) {
  write(line("a") + "\n" + std::string(domain::kBatchLineBytesMax + 500'000, 'x') + "\n" +
        line("b") + "\n" + std::string(domain::kBatchLineBytesMax + 1, 'y'));
  Result<BatchReader> opened = reader();
  const auto piece = opened->next(10, 1 << 20);
  ASSERT_TRUE(piece);
  ASSERT_EQ(piece->faults.size(), 2U);
  EXPECT_EQ(piece->faults[0].line, 2U);
  EXPECT_EQ(piece->faults[1].line, 4U);
  ASSERT_EQ(piece->lines.size(), 2U);
  EXPECT_EQ(piece->lines[1].line, 3U);
}

TEST_F(BatchFile, Check_ListsFaultsInTheOrderOfLines) {
  write(line("a") + "\n{bad\n" + line("a") + "\n" + line("c", "gone") + "\n" + line("d") + "\n" +
        line("e", "gone") + "\n");
  const BatchCheck checked = check();
  EXPECT_FALSE(checked.ok());
  EXPECT_EQ(checked.lines(), 6U);
  std::vector<std::uint64_t> lines;
  for (const BatchFault& fault : checked.faults()) lines.push_back(fault.line);
  EXPECT_THAT(lines, ElementsAre(2, 3, 4, 6));
  EXPECT_THAT(checked.faults()[1].message, HasSubstr("\"a\" stands in an earlier line"));
  EXPECT_EQ(checked.faults()[2].code, "model_not_found");
  EXPECT_THAT(asked_, ElementsAre("fn", "gone"));
}

TEST_F(BatchFile, Check_CountsTheFaultsThatItDoesNotList) {
  std::string text;
  for (int i = 0; i < 12; ++i) text += "{bad\n";
  write(text);
  const auto faults = check(50, 5).faults();
  ASSERT_EQ(faults.size(), 6U);
  EXPECT_THAT(faults.back().message, HasSubstr("7 more"));
}

TEST_F(BatchFile, EmptyAndTooLongFiles_AreFaults) {
  write("\n \n");
  EXPECT_THAT(check().faults().at(0).message, HasSubstr("no requests"));
  std::string text;
  for (int i = 0; i < 4; ++i) text += line(std::to_string(i)) + "\n";
  write(text);
  EXPECT_TRUE(check(4).ok());
  EXPECT_THAT(check(3).faults().at(0).message, HasSubstr("more than 3"));
}

TEST_F(BatchFile, HundredThousandLines_SomeOfThemBad) {
  std::string text;
  for (int i = 0; i < 100'000; ++i)
    text += (i % 1000 == 999 ? "{bad" : line("id-" + std::to_string(i))) + "\n";
  write(text);
  const BatchCheck checked = check(100'000, 100);
  EXPECT_EQ(checked.lines(), 100'000U);
  ASSERT_EQ(checked.faults().size(), 100U);
  EXPECT_EQ(checked.faults().back().line, 100'000U);
}

}  // namespace
}  // namespace glowplug::queue
