#include "queue/batch_results.h"

#include <boost/json/parse.hpp>
#include <gmock/gmock.h>

#include "queue/batch_rows.h"
#include "queue/test_batches.h"

namespace glowplug::queue {
namespace {

using domain::JobState;
using ::testing::ElementsAre;
using Row = BatchJobs::Row;

class BatchResultsTest : public BatchTest {
 protected:
  FileStore::Draft draft() {
    std::optional<FileStore::Draft> made;
    files_->begin(FileOrigin::Made, [&](Result<FileStore::Draft> begun) { made = *begun; });
    EXPECT_TRUE(loop_.run_until([&] { return made.has_value(); }));
    return *made;
  }
  BatchResults results(const std::string& input, BatchResults::Unrun unrun) {
    const auto file = upload(input);
    auto reader = BatchReader::open(*files_->hold(*file), "/v1/chat/completions");
    return BatchResults({5, std::move(*reader), draft(), draft(), unrun});
  }
  // What lies on the disk of a draft: its only file with this many bytes.
  std::string text(const FileStore::Draft& draft) {
    std::optional<Result<FileRecord>> kept;
    files_->keep(draft, {"out", "batch_output", {}},
                 [&](Result<FileRecord> record) { kept = std::move(record); });
    EXPECT_TRUE(loop_.run_until([&] { return kept.has_value(); }));
    return content((*kept)->id);
  }
  static std::vector<std::string> ids(const std::string& text) {
    std::vector<std::string> found;
    std::istringstream in(text);
    for (std::string one; std::getline(in, one);) {
      const auto object = boost::json::parse(one).as_object();
      found.emplace_back(object.at("custom_id").as_string().c_str());
    }
    return found;
  }
};

TEST_F(BatchResultsTest, EveryLine_IsInOneOfBothFiles) {
  BatchResults made =
      results(line(1) + "\n" + line(3) + line(4) + line(5) + line(6), BatchResults::Unrun::Expired);
  ASSERT_TRUE(made.take({{.line = 1,
                          .job = "job_1",
                          .state = JobState::Completed,
                          .status = 200,
                          .body = R"({"x":1})",
                          .prompt_tokens = 4,
                          .completion_tokens = 2},
                         {.line = 3,
                          .job = "job_3",
                          .state = JobState::Failed,
                          .status = 400,
                          .body = R"({"error":{"code":"invalid_value"}})"}}));
  ASSERT_TRUE(made.take(
      {{.line = 4, .state = JobState::Failed, .code = "replica_failed", .message = "It \"broke\"."},
       {.line = 5, .state = JobState::Expired}}));
  ASSERT_TRUE(made.take({}));
  EXPECT_EQ(made.done(), 1U);
  EXPECT_EQ(made.failed(), 4U);
  EXPECT_EQ(made.usage().prompt_tokens, 4);
  EXPECT_EQ(text(made.output()),
            R"({"id":"batch_req_5_1","custom_id":"id-1","response":{"status_code":200,)"
            R"("request_id":"job_1","body":{"x":1}},"error":null})"
            "\n");
  const std::string errors = text(made.errors());
  EXPECT_THAT(ids(errors), ElementsAre("id-3", "id-4", "id-5", "id-6"));
  EXPECT_THAT(errors,
              ::testing::HasSubstr(R"("response":{"status_code":400,"request_id":"job_3")"));
  EXPECT_THAT(errors, ::testing::HasSubstr(
                          R"("error":{"code":"replica_failed","message":"It \"broke\"."})"));
  EXPECT_THAT(errors, ::testing::HasSubstr("batch_expired"));
}

TEST_F(BatchResultsTest, BodiesWithLineEnds_StayOneLine) {
  BatchResults made = results(lines(2), BatchResults::Unrun::Lost);
  ASSERT_TRUE(made.take(
      {{.line = 1, .state = JobState::Completed, .status = 200, .body = "{\"a\":\n[1,\r\n2]}"},
       {.line = 2, .state = JobState::Completed, .status = 200, .body = "no\njson"}}));
  ASSERT_TRUE(made.take({}));
  const std::string output = text(made.output());
  EXPECT_EQ(line_count(output), 2U);
  EXPECT_THAT(output, ::testing::HasSubstr(R"("body":{"a":[1,2]})"));
  EXPECT_THAT(output, ::testing::HasSubstr(R"("body":"no\njson")"));
}

TEST(BatchIds, AreReadBackExactly) {
  EXPECT_EQ(batch_id(255), "batch_00000000000000ff");
  EXPECT_EQ(parse_batch_id("batch_00000000000000ff"), 255);
  for (const char* text :
       {"", "batch_", "batch_ff", "batch_00000000000000FF", "job_00000000000000ff",
        "batch_00000000000000ff0", "batch_-0000000000000ff"})
    EXPECT_FALSE(parse_batch_id(text)) << text;
}

}  // namespace
}  // namespace glowplug::queue
