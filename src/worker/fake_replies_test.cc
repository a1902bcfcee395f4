#include "worker/fake_replies.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include "worker/fake_embeddings.h"
#include "worker/fake_schema.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

Answer plan(Api api, const char* body, int context = 1000) {
  auto answer = plan_answer(api, json::parse(body).as_object(), context);
  EXPECT_TRUE(answer.ok());
  return answer ? *answer : Answer{};
}

TEST(FakeAnswer, IsAFunctionOfThePrompt) {
  const auto one = plan(Api::kChat, R"({"messages":[{"role":"user","content":"one two three"}]})");
  const auto same =
      plan(Api::kChat, R"({"messages":[{"role":"user","content":"one two three"}],"model":"m"})");
  const auto other = plan(Api::kChat, R"({"messages":[{"role":"user","content":"four"}]})");
  EXPECT_EQ(one.choices[0].text(), same.choices[0].text());
  EXPECT_NE(one.choices[0].text(), other.choices[0].text());
  EXPECT_EQ(one.prompt_tokens, 3);
  EXPECT_EQ(one.completion_tokens(), kChatTokens);
  EXPECT_EQ(one.choices[0].finish, "stop");
}

TEST(FakeAnswer, HonoursLimits) {
  EXPECT_EQ(plan(Api::kCompletions, R"({"prompt":"a"})").completion_tokens(), kCompletionTokens);
  const auto limited = plan(Api::kChat, R"({"messages":[],"max_tokens":100})");
  EXPECT_EQ(limited.completion_tokens(), 100);
  EXPECT_EQ(limited.choices[0].finish, "length");
  EXPECT_EQ(plan(Api::kChat, R"({"messages":[{"content":"a b c"}]})", 5).completion_tokens(), 2);
  const auto too_long =
      plan_answer(Api::kCompletions, json::parse(R"({"prompt":"a b c"})").as_object(), 3);
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().code, "context_length_exceeded");
  const auto bad =
      plan_answer(Api::kChat, json::parse(R"({"messages":[],"max_tokens":"x"})").as_object(), 3);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().param, "max_tokens");
}

TEST(FakeAnswer, StopStringEndsItAndIsLeftOut) {
  const auto whole = plan(Api::kCompletions, R"({"prompt":"a","max_tokens":6})").choices[0];
  const std::string stop = whole.pieces[3].substr(1);
  const json::object request{{"prompt", "a"}, {"max_tokens", 6}, {"stop", stop}};
  const auto cut = plan_answer(Api::kCompletions, request, 100);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->choices[0].text(), whole.pieces[0] + whole.pieces[1] + whole.pieces[2] + " ");
  EXPECT_EQ(cut->choices[0].finish, "stop");
}

TEST(FakeAnswer, ChoicesDifferAndPromptsAdd) {
  const auto answer = plan(Api::kCompletions, R"({"prompt":["a b","c"],"n":2,"max_tokens":3})");
  ASSERT_EQ(answer.choices.size(), 4U);
  EXPECT_NE(answer.choices[0].text(), answer.choices[1].text());
  EXPECT_EQ(answer.prompt_tokens, 3);
  EXPECT_EQ(answer.completion_tokens(), 12);
}

TEST(FakeAnswer, EmojiPromptBringsWideCharacters) {
  EXPECT_NE(plan(Api::kCompletions, R"({"prompt":"emoji"})").choices[0].text().find("😀"),
            std::string::npos);
}

TEST(FakeReplies, SchemaAnswerIsMinimalInstance) {
  const auto answer =
      plan(Api::kChat, R"({"messages":[],"response_format":{"type":"json_schema","json_schema":{
    "schema":{"type":"object","required":["a","b","c"],"properties":{"a":{"type":"string","minLength":2},
    "b":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/x"}},"c":{"enum":["q","r"]},"d":{"type":"null"}},
    "$defs":{"x":{"type":"integer","minimum":3}}}}}})");
  EXPECT_EQ(json::parse(answer.choices[0].text()), json::parse(R"({"a":"aa","b":[3],"c":"q"})"));
  const auto plain =
      plan(Api::kChat, R"({"messages":[],"response_format":{"type":"json_object"}})");
  EXPECT_EQ(plain.choices[0].text(), "{}");
}

TEST(FakeReplies, ForcedToolIsCalled) {
  const char* request =
      R"({"messages":[],"tools":[{"type":"function","function":{"name":"add","parameters":
    {"type":"object","required":["x"],"properties":{"x":{"type":"number"}}}}}],"tool_choice":"required"})";
  const auto body = json::parse(reply_body(plan(Api::kChat, request)));
  const auto& choice = body.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  EXPECT_EQ(choice.at("message").at("tool_calls").at(0).at("function").at("name"), "add");
  const auto arguments =
      choice.at("message").at("tool_calls").at(0).at("function").at("arguments").as_string();
  EXPECT_EQ(json::parse(arguments).at("x").to_number<double>(), 0);
}

TEST(FakeReplies, UsageCountsWords) {
  const auto body =
      json::parse(reply_body(plan(Api::kCompletions, R"({"prompt":"a b c","max_tokens":4})")));
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 3);
  EXPECT_EQ(body.at("usage").at("completion_tokens"), 4);
  EXPECT_EQ(body.at("usage").at("total_tokens"), 7);
  EXPECT_EQ(body.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0);
  EXPECT_EQ(body.at("choices").at(0).at("finish_reason"), "length");
}

TEST(FakeReplies, ResponsesAndMessagesHaveTheirForms) {
  const auto response =
      json::parse(reply_body(plan(Api::kResponses, R"({"input":"a b","max_output_tokens":2})")));
  EXPECT_EQ(response.at("status"), "incomplete");
  EXPECT_EQ(response.at("usage").at("input_tokens"), 2);
  EXPECT_TRUE(response.at("output").at(0).at("content").at(0).at("text").is_string());
  const auto message = json::parse(reply_body(
      plan(Api::kMessages,
           R"({"system":"s","messages":[{"role":"user","content":"a"}],"max_tokens":2})")));
  EXPECT_EQ(message.at("stop_reason"), "max_tokens");
  EXPECT_EQ(message.at("usage").at("input_tokens"), 2);
  EXPECT_EQ(message.at("content").at(0).at("type"), "text");
}

TEST(FakeEmbeddings, FloatAndBase64) {
  const auto floats =
      embeddings_body(json::parse(R"({"input":["a b","c"],"dimensions":3})").as_object());
  ASSERT_TRUE(floats.ok());
  const auto body = json::parse(*floats);
  EXPECT_EQ(body.at("data").as_array().size(), 2U);
  EXPECT_EQ(body.at("data").at(1).at("embedding").as_array().size(), 3U);
  EXPECT_EQ(body.at("usage").at("prompt_tokens"), 3);
  const auto coded =
      embeddings_body(json::parse(R"({"input":"a","encoding_format":"base64"})").as_object());
  ASSERT_TRUE(coded.ok());
  EXPECT_EQ(json::parse(*coded).at("data").at(0).at("embedding").as_string().size(), 44U);
  EXPECT_EQ(embeddings_body({}).error().param, "input");
}

TEST(FakeEmbeddings, RerankSortsByOverlap) {
  const auto body = rerank_body(
      json::parse(R"({"query":"red fox","documents":["blue","red fox","red"]})").as_object());
  ASSERT_TRUE(body.ok());
  const auto results = json::parse(*body).at("results");
  EXPECT_EQ(results.at(0).at("index"), 1);
  EXPECT_EQ(results.at(2).at("index"), 0);
}

}  // namespace
}  // namespace glowplug::worker
