#include "worker/fake_stream.h"

#include <vector>

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

namespace json = boost::json;

struct Event {
  std::string name;
  std::string data;
};

std::vector<Event> events_of(Api api, const char* request) {
  const auto answer = plan_answer(api, json::parse(request).as_object(), 1000);
  EXPECT_TRUE(answer.ok());
  const auto stream = make_stream(*answer);
  std::string text = stream->opening();
  for (std::size_t c = 0; c < answer->choices.size(); ++c) {
    for (std::size_t i = 0; i < answer->choices[c].pieces.size(); ++i) text += stream->piece(c, i);
  }
  text += stream->closing();
  std::vector<Event> events;
  while (!text.empty()) {
    const std::size_t end = text.find("\n\n");
    std::string event = text.substr(0, end);
    text.erase(0, end + 2);
    Event parsed;
    if (event.starts_with("event: ")) {
      parsed.name = event.substr(7, event.find('\n') - 7);
      event.erase(0, event.find('\n') + 1);
    }
    parsed.data = event.substr(6);
    events.push_back(std::move(parsed));
  }
  return events;
}

TEST(FakeStream, ChatChunksFollowOpenAi) {
  const auto events = events_of(Api::kChat, R"({"messages":[],"max_tokens":3,"n":2,"stream":true,
                                                 "stream_options":{"include_usage":true}})");
  ASSERT_EQ(events.size(), 2 + 2 * 3 + 2 + 2U);
  EXPECT_EQ(events.back().data, "[DONE]");
  EXPECT_EQ(json::parse(events[0].data).at("choices").at(0).at("delta").at("role"), "assistant");
  std::vector<int> finished(2);
  for (std::size_t i = 0; i + 2 < events.size(); ++i) {
    const auto chunk = json::parse(events[i].data);
    EXPECT_TRUE(chunk.at("usage").is_null());
    const auto& choice = chunk.at("choices").at(0);
    if (!choice.at("finish_reason").is_null())
      ++finished[choice.at("index").to_number<std::size_t>()];
  }
  EXPECT_EQ(finished, (std::vector<int>{1, 1}));
  const auto usage = json::parse(events[events.size() - 2].data);
  EXPECT_TRUE(usage.at("choices").as_array().empty());
  EXPECT_EQ(usage.at("usage").at("completion_tokens"), 6);
}

TEST(FakeStream, UsageIsAbsentUnlessAskedFor) {
  for (const auto& event : events_of(Api::kCompletions, R"({"prompt":"a","stream":true})")) {
    EXPECT_EQ(event.data.find("usage"), std::string::npos);
  }
}

TEST(FakeStream, ToolArgumentsComeInFragments) {
  std::string arguments;
  for (const auto& event :
       events_of(Api::kChat, R"({"messages":[],"tool_choice":"required","tools":[{"function":{
         "name":"f","parameters":{"type":"object","required":["city"],"properties":{"city":{"const":"Paris"}}}}}]})")) {
    if (event.data == "[DONE]") continue;
    const auto chunk = json::parse(event.data);
    const auto& delta = chunk.at("choices").at(0).at("delta").as_object();
    if (!delta.contains("tool_calls")) continue;
    arguments += delta.at("tool_calls").at(0).at("function").at("arguments").as_string();
  }
  EXPECT_EQ(json::parse(arguments), json::parse(R"({"city":"Paris"})"));
}

TEST(FakeStream, ResponsesEventsAreNumbered) {
  const auto events = events_of(Api::kResponses, R"({"input":"a"})");
  EXPECT_EQ(events.front().name, "response.created");
  EXPECT_EQ(events.back().name, "response.completed");
  for (std::size_t i = 0; i < events.size(); ++i) {
    const auto data = json::parse(events[i].data);
    EXPECT_EQ(data.at("sequence_number"), i);
    EXPECT_EQ(data.at("type"), json::string(events[i].name));
  }
}

TEST(FakeStream, MessagesEventsAreAnthropics) {
  const auto events = events_of(Api::kMessages, R"({"messages":[],"max_tokens":2})");
  std::vector<std::string> names;
  for (const auto& event : events) names.push_back(event.name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"message_start", "content_block_start", "content_block_delta",
                                      "content_block_delta", "content_block_stop", "message_delta",
                                      "message_stop"}));
  EXPECT_EQ(json::parse(events[5].data).at("delta").at("stop_reason"), "max_tokens");
}

}  // namespace
}  // namespace glowplug::worker
