#include "gateway/openai_request.h"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "base/units.h"
#include "gateway/json_text.h"
#include "gateway/tool_request.h"

namespace glowplug::gateway {
namespace {

domain::Manifest small_function() {
  domain::Manifest manifest;
  manifest.name = "fn";
  manifest.engine.kind = domain::EngineKind::Fake;
  manifest.context = 100;
  manifest.limits.max_tokens = 50;
  return manifest;
}

struct Fault {
  const char* fields;
  const char* param;
  const char* code = "invalid_value";
};

TEST(ChatRequest, FieldOutOfRange_NamesItsParam) {
  const Fault faults[] = {
      {R"("temperature":2.1)", "temperature"},
      {R"("temperature":"hot")", "temperature"},
      {R"("top_p":-0.1)", "top_p"},
      {R"("n":0)", "n"},
      {R"("n":5)", "n"},
      {R"("n":1.5)", "n"},
      {R"("top_logprobs":21,"logprobs":true)", "top_logprobs"},
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("presence_penalty":3)", "presence_penalty"},
      {R"("frequency_penalty":-3)", "frequency_penalty"},
      {R"("stop":["a","b","c","d","e"])", "stop"},
      {R"("stop":[1])", "stop"},
      {R"("stop":"")", "stop"},
      {R"("stop":["a",""])", "stop"},
      {R"("max_tokens":-1)", "max_tokens"},
      {R"("max_tokens":1,"max_completion_tokens":2)", "max_tokens"},
      {R"("stream":"yes")", "stream"},
      {R"("logit_bias":[])", "logit_bias"},
      {R"("seed":"x")", "seed"},
      {R"("stream_options":[])", "stream_options"},
      {R"("metadata":5)", "metadata"},
      {R"("stream_options":{"include_usage":1})", "stream_options.include_usage"},
      {R"("response_format":{"type":"xml"})", "response_format"},
      {R"("response_format":{"type":"json_schema"})", "response_format"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"x"}})", "response_format"},
      {R"("logit_bias":[1])", "logit_bias"},
      {R"("logit_bias":{"hello":1})", "logit_bias"},
      {R"("logit_bias":{"12":"much"})", "logit_bias"},
      {R"("logit_bias":{"12":101})", "logit_bias"},
      {R"("keep_alive":"soon")", "keep_alive"}};
  for (const Fault& fault : faults) {
    const std::string text =
        std::string(R"({"model":"fn","messages":[{"role":"user","content":"hi"}],)") +
        fault.fields + "}";
    const auto request = parse_object(text);
    ASSERT_TRUE(request.ok()) << text;
    const auto shape = check_request(Surface::Chat, request.value(), small_function());
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.error().param, fault.param) << text;
    EXPECT_EQ(shape.error().code, fault.code) << text;
  }
}

TEST(ChatRequest, MessagesOutOfShape_AreRefused) {
  const Fault faults[] = {
      {"", "messages", "missing_field"},
      {R"("messages":[])", "messages"},
      {R"("messages":[{"role":"boss","content":"x"}])", "messages"},
      {R"("messages":[{"role":"user","content":3}])", "messages"},
      {R"("messages":[{"role":"user","content":null}])", "messages"},
      {R"("messages":[{"role":"user"}])", "messages"},
      {R"("messages":[{"role":"assistant","content":null}])", "messages"},
      {R"("messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])",
       "messages", "unsupported_value"}};
  for (const Fault& fault : faults) {
    const auto request = parse_object(std::string("{") + fault.fields + "}");
    ASSERT_TRUE(request.ok());
    const auto shape = check_request(Surface::Chat, request.value(), small_function());
    ASSERT_FALSE(shape.ok()) << fault.fields;
    EXPECT_EQ(shape.error().code, fault.code) << fault.fields;
    EXPECT_EQ(shape.error().param, fault.param);
  }
}

TEST(ChatRequest, TurnOfToolCallsAlone_NeedsNoContent) {
  const auto request = parse_object(
      R"({"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":
      [{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}],
      "logit_bias":{"0":-100,"12":1.5}})");
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(check_request(Surface::Chat, request.value(), small_function()).ok());
}

TEST(ChatRequest, PromptThatCannotFit_IsRefusedAtOnce) {
  boost::json::object request;
  request["prompt"] = std::string(100 * 16 + 1, 'a');
  const auto shape = check_request(Surface::Completions, request, small_function());
  ASSERT_FALSE(shape.ok());
  EXPECT_EQ(shape.error().code, "context_length_exceeded");
  EXPECT_NE(shape.error().message.find("maximum context length is 100 tokens"), std::string::npos);
}

TEST(CacheSalt, IsReadAndOnlyPassedOnToAForeignEngine) {
  const auto request =
      parse_object(R"({"messages":[{"role":"user","content":"x"}],"cache_salt":"pepper"})");
  domain::Manifest manifest = small_function();
  const auto shape = check_request(Surface::Chat, request.value(), manifest);
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->cache_salt, "pepper");
  EXPECT_EQ(forward_body(Surface::Chat, request.value(), manifest, *shape).find("pepper"),
            std::string::npos);
  manifest.engine.kind = domain::EngineKind::Process;
  EXPECT_NE(forward_body(Surface::Chat, request.value(), manifest, *shape).find("pepper"),
            std::string::npos);
}

TEST(CacheSalt, EmptyTooLongOrNoText_IsRefused) {
  for (const std::string& salt :
       {std::string(R"("")"), std::string("7"), '"' + std::string(257, 's') + '"'}) {
    const auto request =
        parse_object(R"({"messages":[{"role":"user","content":"x"}],"cache_salt":)" + salt + "}");
    const auto shape = check_request(Surface::Chat, request.value(), small_function());
    ASSERT_FALSE(shape.ok()) << salt;
    EXPECT_EQ(shape.error().param, "cache_salt");
  }
}

TEST(Store, FalseReachesTheReplica_TrueDoesNot) {
  for (const bool store : {true, false}) {
    const auto request =
        parse_object(std::string(R"({"messages":[{"role":"user","content":"x"}],"store":)") +
                     (store ? "true}" : "false}"));
    const domain::Manifest manifest = small_function();
    const auto shape = check_request(Surface::Chat, request.value(), manifest);
    ASSERT_TRUE(shape.ok());
    const std::string body = forward_body(Surface::Chat, request.value(), manifest, *shape);
    EXPECT_EQ(body.find(R"("store":false)") != std::string::npos, !store);
  }
}

TEST(ChatRequest, WrongTask_IsUnsupported) {
  const auto request = parse_object(R"({"input":"x"})");
  const auto shape = check_request(Surface::Embeddings, request.value(), small_function());
  ASSERT_FALSE(shape.ok());
  EXPECT_EQ(shape.error().code, "unsupported_value");
}

TEST(ChatRequest, Forwarded_HasOnlyAllowedFieldsAndACappedLength) {
  const auto request = parse_object(
      R"({"model":"fn","messages":[{"role":"user","content":"x"}],"n_discard":-1,"id_slot":2,"lora":[],
          "max_completion_tokens":999,"stream":true,"top_k":5,"keep_alive":-1})");
  const auto shape = check_request(Surface::Chat, request.value(), small_function());
  ASSERT_TRUE(shape.ok()) << shape.error().message;
  EXPECT_EQ(shape->keep_alive, kForever);
  const std::string body =
      forward_body(Surface::Chat, request.value(), small_function(), shape.value());
  EXPECT_EQ(
      body,
      R"({"model":"fn","messages":[{"role":"user","content":"x"}],"stream":true,"top_k":5,"max_tokens":50,)"
      R"("stream_options":{"include_usage":true}})");
}

TEST(ChatRequest, ToolsWithoutATemplateForThem_AreRefusedForLlamaOnly) {
  domain::Manifest manifest = small_function();
  domain::ModelFacts facts;
  facts.path = "/models/m.gguf";
  EXPECT_TRUE(check_tool_template(manifest, facts).ok());
  manifest.engine.kind = domain::EngineKind::Llama;
  EXPECT_FALSE(check_tool_template(manifest, facts).ok());
  facts.chat_template = "{% if tools %}";
  EXPECT_TRUE(check_tool_template(manifest, facts).ok());
}

Result<void> tools_of(std::string_view request, Surface surface = Surface::Chat) {
  return check_tools(surface, parse_object(request).value());
}

TEST(ToolRequest, Faults_NameTheEntry) {
  const auto param = [](std::string_view request, Surface surface = Surface::Chat) {
    const Result<void> checked = tools_of(request, surface);
    return checked ? std::string() : checked.error().param;
  };
  EXPECT_EQ(param(R"({"tools":{}})"), "tools");
  EXPECT_EQ(param(R"({"tools":[1]})"), "tools[0]");
  EXPECT_EQ(param(R"({"tools":[{"type":"web_search"}]})"), "tools[0].type");
  EXPECT_EQ(param(R"({"tools":[{"type":"function"}]})"), "tools[0].function");
  EXPECT_EQ(param(R"({"tools":[{"type":"function","function":{}}]})"), "tools[0].function.name");
  EXPECT_EQ(param(R"({"tools":[{"type":"function","name":"a"},{"type":"function","name":"a"}]})",
                  Surface::Responses),
            "tools[1].name");
  EXPECT_EQ(param(R"({"tools":[{"input_schema":{}}]})", Surface::Messages), "tools[0].name");
}

TEST(ToolRequest, ChoiceThatNothingFits_IsRefused) {
  constexpr std::string_view kTools = R"("tools":[{"type":"function","function":{"name":"a"}}])";
  const auto with = [&kTools](std::string_view choice) {
    return tools_of("{" + std::string(kTools) + R"(,"tool_choice":)" + std::string(choice) + "}");
  };
  for (
      const std::string_view good :
      {R"("auto")", R"("none")", R"("required")", "null",
       R"({"type":"function","function":{"name":"a"}})",
       R"({"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"function":{"name":"a"}}]}})"})
    EXPECT_TRUE(with(good).ok()) << good;
  for (const std::string_view bad :
       {R"("any")", "7", "{}", R"({"type":"function","function":{"name":"b"}})",
        R"({"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}})"}) {
    ASSERT_FALSE(with(bad).ok()) << bad;
    EXPECT_EQ(with(bad).error().param, "tool_choice") << bad;
  }
  EXPECT_EQ(tools_of(R"({"tool_choice":"required"})").error().param, "tools");
  EXPECT_FALSE(tools_of(R"({"tools":[{"name":"a"}],"tool_choice":{"type":"tool","name":"b"}})",
                        Surface::Messages)
                   .ok());
}

TEST(JsonText, Faults_AreRefusedWithTheirPosition) {
  EXPECT_NE(parse_object(R"({"a":1,})").error().message.find("byte 7"), std::string::npos);
  EXPECT_EQ(parse_object("[1]").error().code, "invalid_json");
  EXPECT_EQ(parse_object(std::string(10'000, '[')).error().code, "invalid_json");
  EXPECT_EQ(parse_object(R"({"model":"a","model":"b"})").error().param, "model");
  EXPECT_EQ(parse_object(R"({"model":"a","mod\u0065l":"b"})").error().param, "model");
  EXPECT_TRUE(parse_object(R"({"model":"a","x":{"model":"b"},"y":"model"})").ok());
}

}  // namespace
}  // namespace glowplug::gateway
