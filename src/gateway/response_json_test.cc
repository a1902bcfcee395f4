#include "gateway/response_json.h"

#include <algorithm>
#include <map>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gmock/gmock.h>

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using domain::JobState;
using storage::JobView;
using testing::ElementsAre;

json::object object(const std::string& text) { return json::parse(text).as_object(); }

const json::object kRequest = object(
    R"({"model":"fn","input":"Hello","background":true,"max_output_tokens":9,"metadata":{"a":"b"}})");
const std::string kAnswer = R"({"id":"resp_engine","object":"response","created_at":1,)"
                            R"("status":"completed","model":"fn","output":[{"type":"reasoning",)"
                            R"("id":"r","content":[{"type":"reasoning_text","text":"hm"}]},)"
                            R"({"type":"message","id":"m","role":"assistant","status":"completed",)"
                            R"("content":[{"type":"output_text","text":"Hi.","annotations":[]}]},)"
                            R"({"type":"function_call","id":"f","call_id":"c","name":"go",)"
                            R"("arguments":"{}","status":"completed"}],)"
                            R"("usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}})";

JobView seen(JobState state, std::uint64_t fence) {
  JobView view;
  view.id = {0x123};
  view.function = "fn";
  view.path = "/v1/responses";
  view.state = state;
  view.fence = fence;
  view.created = WallTime(5'000ms);
  if (is_terminal(state)) view.finished = WallTime(7'000ms);
  return view;
}
JobView completed(const std::string& answer = kAnswer) {
  JobView view = seen(JobState::Completed, 1);
  view.status = 200;
  view.result = answer;
  return view;
}
JobView failed(JobState state, std::uint64_t fence, std::string code) {
  JobView view = seen(state, fence);
  view.code = std::move(code);
  view.reason = "why";
  return view;
}

std::string type_of(const ResponseEvent& event) {
  return event.text.substr(7, event.text.find('\n') - 7);
}
json::object data_of(const ResponseEvent& event) {
  const std::size_t from = event.text.find("\ndata: ") + 7;
  return object(event.text.substr(from, event.text.size() - from - 2));
}
std::vector<std::string> types(const JobView& view) {
  std::vector<std::string> found;
  for (const ResponseEvent& event : response_events(view, kRequest))
    found.push_back(type_of(event));
  return found;
}

TEST(ResponseId, IsTheJobsUnderAnotherName) {
  EXPECT_EQ(response_id({0x123}), "resp_0000000000000123");
  EXPECT_EQ(parse_response_id("resp_0000000000000123"), domain::JobId{0x123});
  for (const char* other :
       {"job_0000000000000123", "resp_", "resp_123", "resp_000000000000012X", ""})
    EXPECT_FALSE(parse_response_id(other)) << other;
}

TEST(ResponseObject, InEveryState_HasWhatClientsRead) {
  const std::pair<JobView, const char*> table[] = {
      {seen(JobState::Queued, 0), "queued"},
      {seen(JobState::InProgress, 1), "in_progress"},
      {completed(), "completed"},
      {failed(JobState::Failed, 1, "function_failed"), "failed"},
      {failed(JobState::Expired, 0, ""), "failed"},
      {seen(JobState::Cancelled, 0), "cancelled"}};
  for (const auto& [view, status] : table) {
    SCOPED_TRACE(status);
    const json::object response = response_object(view, kRequest);
    for (const char* name :
         {"id", "object", "created_at", "error", "incomplete_details", "instructions", "model",
          "tools", "output", "parallel_tool_calls", "metadata", "tool_choice", "temperature",
          "top_p", "usage", "background"})
      EXPECT_TRUE(response.contains(name)) << name;
    EXPECT_EQ(response.at("id"), "resp_0000000000000123");
    EXPECT_EQ(response.at("status").as_string(), status);
    EXPECT_EQ(response.at("created_at"), 5);
    EXPECT_EQ(response.at("background"), true);
    EXPECT_EQ(response.at("metadata"), json::parse(R"({"a":"b"})"));
    EXPECT_EQ(response.at("max_output_tokens"), 9);
    EXPECT_EQ(response.at("error").is_null(), std::string_view(status) != "failed");
  }
}

TEST(ResponseObject, OfAnAnswer_IsThatAnswer) {
  const json::object response = response_object(completed(), kRequest);
  const json::object answer = object(kAnswer);
  EXPECT_EQ(response.at("output"), answer.at("output"));
  EXPECT_EQ(response.at("usage"), answer.at("usage"));
  EXPECT_EQ(response.at("completed_at"), 7);
  const json::object cut = response_object(
      completed(R"({"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}})"),
      kRequest);
  EXPECT_EQ(cut.at("status"), "incomplete");
}

TEST(ResponseObject, OfAFailure_SaysWhy) {
  const json::object response =
      response_object(failed(JobState::Failed, 2, "function_failed"), kRequest);
  EXPECT_EQ(response.at("error"), json::parse(R"({"code":"function_failed","message":"why"})"));
  EXPECT_EQ(response_object(failed(JobState::Expired, 0, ""), kRequest).at("error").at("code"),
            "deadline_exceeded");
}

TEST(ResponseEvents, OfAnAnswer_AreThoseOfAStream) {
  EXPECT_THAT(types(completed()),
              ElementsAre("response.created", "response.queued", "response.in_progress",
                          "response.output_item.added", "response.reasoning_text.delta",
                          "response.reasoning_text.done", "response.output_item.done",
                          "response.output_item.added", "response.content_part.added",
                          "response.output_text.delta", "response.output_text.done",
                          "response.content_part.done", "response.output_item.done",
                          "response.output_item.added", "response.function_call_arguments.delta",
                          "response.function_call_arguments.done", "response.output_item.done",
                          "response.completed"));
  const std::vector<ResponseEvent> events = response_events(completed(), kRequest);
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].sequence, static_cast<std::int64_t>(i));
    EXPECT_EQ(data_of(events[i]).at("sequence_number"), i);
    EXPECT_EQ(std::string(data_of(events[i]).at("type").as_string()), type_of(events[i]));
  }
  EXPECT_EQ(data_of(events.back()).at("response"),
            json::value(response_object(completed(), kRequest)));
  EXPECT_EQ(data_of(events[9]).at("delta"), "Hi.");
  EXPECT_EQ(data_of(events[9]).at("item_id"), "m");
  EXPECT_EQ(data_of(events[0]).at("response").at("status"), "queued");
}

// Whoever has seen a response in earlier states reads on without a gap or a repeat.
TEST(ResponseEvents, KeepTheirNumbersAsTheResponseGoesOn) {
  const std::vector<JobView> course = {seen(JobState::Queued, 0), seen(JobState::InProgress, 1),
                                       seen(JobState::Queued, 1), seen(JobState::InProgress, 2),
                                       completed()};
  std::map<std::int64_t, std::string> told;
  for (const JobView& view : course)
    for (const ResponseEvent& event : response_events(view, kRequest)) {
      const auto [at, is_new] = told.emplace(event.sequence, event.text);
      EXPECT_EQ(at->second, event.text);
    }
  EXPECT_EQ(told.size(), response_events(completed(), kRequest).size());
}

TEST(ResponseEvents, OfOneThatNeverRan_HaveNoProgress) {
  EXPECT_THAT(types(seen(JobState::Cancelled, 0)),
              ElementsAre("response.created", "response.queued", "response.cancelled"));
  EXPECT_THAT(types(failed(JobState::Expired, 0, "")),
              ElementsAre("response.created", "response.queued", "response.failed"));
  EXPECT_EQ(response_events(seen(JobState::Cancelled, 0), kRequest).back().sequence, 3);
  EXPECT_EQ(response_events(seen(JobState::Cancelled, 1), kRequest).back().sequence, 3);
}

TEST(InputItems, TextIsAMessage_AndEachHasAnId) {
  const json::array of_text = input_items({0x123}, kRequest);
  ASSERT_EQ(of_text.size(), 1U);
  EXPECT_EQ(of_text[0].at("role"), "user");
  EXPECT_EQ(of_text[0].at("content").at(0).at("text"), "Hello");
  const json::array of_list =
      input_items({0x123}, object(R"({"input":[{"role":"user","content":"a"},)"
                                  R"({"type":"function_call_output","id":"own","output":"b"}]})"));
  ASSERT_EQ(of_list.size(), 2U);
  EXPECT_EQ(of_list[0].at("id"), "item_0000000000000123_0");
  EXPECT_EQ(of_list[0].at("type"), "message");
  EXPECT_EQ(of_list[1].at("id"), "own");
  EXPECT_EQ(of_list[1].at("type"), "function_call_output");
  EXPECT_EQ(input_items({0x123}, object(R"({"input":["odd"]})"))[0].at("value"), "odd");
}

}  // namespace
}  // namespace glowplug::gateway
