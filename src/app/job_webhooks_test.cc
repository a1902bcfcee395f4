#include "app/job_webhooks.h"

#include <filesystem>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/sqlite.h"
#include "storage/test_root.h"

namespace glowplug::app {
namespace {

using domain::JobState;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// What is told of this end: type, object and the job's own address.
std::vector<std::string> told(JobState state, const std::string& path, std::int64_t batch = 0,
                              const std::string& result = "{}") {
  const std::string root = storage::make_test_root();
  Result<storage::Database> database = storage::Database::open(root + "/state");
  EXPECT_TRUE(database.ok());
  const storage::JobEnd end{.job = {255}, .state = state, .result = result};
  const storage::SettledJob settled{.end = end,
                                    .function = "fn",
                                    .path = path,
                                    .webhook = batch == 0 ? "https://own.example/" : "",
                                    .request_id = "req_1",
                                    .traceparent = "trace-1",
                                    .batch = batch,
                                    .platform = {}};
  std::vector<std::string> events;
  const queue::EmitWebhook emit = [&events](storage::Database&, const queue::WebhookEvent& event) {
    EXPECT_EQ(event.traceparent, "trace-1");
    events.push_back(event.type + " " + event.object_id.substr(0, event.object_id.find('_')) + " " +
                     event.url);
    return Result<void>();
  };
  EXPECT_TRUE(emit_job_end(*database, settled, emit).ok());
  std::filesystem::remove_all(root);
  return events;
}

TEST(JobWebhooks, End_IsToldToTheJobsOwnAddress) {
  EXPECT_THAT(told(JobState::Completed, "/v1/chat/completions"),
              ElementsAre("job.completed job https://own.example/"));
}

TEST(JobWebhooks, BackgroundResponse_IsToldAsBoth) {
  EXPECT_THAT(told(JobState::Cancelled, "/v1/responses"),
              ElementsAre("job.cancelled job https://own.example/",
                          "response.cancelled resp https://own.example/"));
  EXPECT_THAT(told(JobState::Expired, "/v1/responses"),
              ElementsAre("job.expired job https://own.example/",
                          "response.failed resp https://own.example/"));
}

TEST(JobWebhooks, ResponseThatReachedItsBound_IsIncomplete) {
  EXPECT_THAT(told(JobState::Completed, "/v1/responses", 0, R"({"status":"incomplete"})"),
              ElementsAre("job.completed job https://own.example/",
                          "response.incomplete resp https://own.example/"));
}

TEST(JobWebhooks, LinesOfABatch_TellNothing) {
  EXPECT_THAT(told(JobState::Completed, "/v1/responses", 7), IsEmpty());
}

}  // namespace
}  // namespace glowplug::app
