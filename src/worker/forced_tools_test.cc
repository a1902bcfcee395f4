#include "worker/forced_tools.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

namespace glowplug::worker {
namespace {

namespace json = boost::json;

constexpr std::string_view kOpening = "<tool_call>\n";

json::value forced(Dialect dialect, std::string_view body, std::string_view opening = kOpening) {
  const auto rewritten = force_tool_call(dialect, body, opening);
  return rewritten ? json::parse(*rewritten) : json::value();
}

std::string chat(std::string_view choice) {
  return R"({"messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"a"}},)"
         R"({"type":"function","function":{"name":"b"}}],"tool_choice":)" +
         std::string(choice) + "}";
}

TEST(ForcedTools, NothingForced_BodyIsLeftAlone) {
  for (const std::string_view choice : {R"("auto")", R"("none")", "null", "7"})
    EXPECT_EQ(force_tool_call(Dialect::kChat, chat(choice), kOpening), std::nullopt) << choice;
  EXPECT_EQ(force_tool_call(Dialect::kChat, R"({"messages":[]})", kOpening), std::nullopt);
  EXPECT_EQ(force_tool_call(Dialect::kChat, R"({"tool_choice":"required"})", kOpening),
            std::nullopt);
  EXPECT_EQ(force_tool_call(Dialect::kChat, R"({"tool_choice":)", kOpening), std::nullopt);
}

TEST(ForcedTools, Required_AllToolsStayAndTheAnswerIsBegun) {
  const json::value body = forced(Dialect::kChat, chat(R"("required")"));
  EXPECT_EQ(body.at("tools").as_array().size(), 2u);
  EXPECT_EQ(body.at("tool_choice"), "required");
  EXPECT_EQ(body.at("messages").at(1), (json::value{{"role", "assistant"}, {"content", kOpening}}));
  EXPECT_FALSE(body.as_object().contains("parallel_tool_calls"));
}

TEST(ForcedTools, NamedFunction_OnlyItStays) {
  const json::value body =
      forced(Dialect::kChat, chat(R"({"type":"function","function":{"name":"b"}})"));
  ASSERT_EQ(body.at("tools").as_array().size(), 1u);
  EXPECT_EQ(body.at("tools").at(0).at("function").at("name"), "b");
  EXPECT_EQ(body.at("tool_choice"), "required");
  EXPECT_EQ(body.at("parallel_tool_calls"), false);
  EXPECT_EQ(body.at("stop"), (json::value(json::array{"</tool_call>"})));
}

TEST(ForcedTools, OneCallAtATime_StopsAfterItAndKeepsTheCallersStops) {
  const json::value body =
      forced(Dialect::kChat, R"({"messages":[{"role":"user","content":"hi"}],"stop":"END",
                          "tools":[{"function":{"name":"a"}}],"parallel_tool_calls":false})");
  EXPECT_EQ(body.at("stop"), (json::value(json::array{"END", "</tool_call>"})));
  EXPECT_FALSE(body.as_object().contains("tool_choice"));
  EXPECT_EQ(body.at("messages").as_array().size(), 1u);
  const json::value no_tag =
      forced(Dialect::kChat, R"({"messages":[],"tools":[{"function":{"name":"a"}}],
                          "parallel_tool_calls":false})",
             "[TOOL_CALLS]");
  EXPECT_FALSE(no_tag.as_object().contains("stop"));
}

TEST(ForcedTools, AllowedTools_RestrictsWithoutForcing) {
  const json::value body =
      forced(Dialect::kChat, chat(R"({"type":"allowed_tools","allowed_tools":)"
                                  R"({"mode":"auto","tools":[{"function":{"name":"a"}}]}})"));
  EXPECT_EQ(body.at("tools").as_array().size(), 1u);
  EXPECT_EQ(body.at("tool_choice"), "auto");
  EXPECT_EQ(body.at("messages").as_array().size(), 1u);
}

TEST(ForcedTools, TemplateWithoutOpening_AnswerIsNotBegun) {
  const json::value body = forced(Dialect::kChat, chat(R"("required")"), "");
  EXPECT_EQ(body.at("messages").as_array().size(), 1u);
  EXPECT_EQ(body.at("tool_choice"), "required");
}

TEST(ForcedTools, CallerHasBegunTheAnswer_ItIsNotBegunTwice) {
  const json::value body =
      forced(Dialect::kChat,
             R"({"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"So"}],
          "tools":[{"function":{"name":"a"}}],"tool_choice":"required"})");
  EXPECT_EQ(body.at("messages").as_array().size(), 2u);
}

TEST(ForcedTools, Messages_NamedToolBecomesAnyOfOne) {
  const json::value body =
      forced(Dialect::kMessages,
             R"({"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"a"},{"name":"b"}],
                 "tool_choice":{"type":"tool","name":"a"}})");
  ASSERT_EQ(body.at("tools").as_array().size(), 1u);
  EXPECT_EQ(body.at("tool_choice"), (json::value{{"type", "any"}}));
  EXPECT_EQ(body.at("messages").at(1).at("content").as_string(), kOpening);
}

TEST(ForcedTools, Responses_TextInputBecomesItems) {
  const json::value body = forced(Dialect::kResponses,
                                  R"({"input":"hi","tools":[{"type":"function","name":"a"}],
                 "tool_choice":{"type":"function","name":"a"}})");
  const json::array& input = body.at("input").as_array();
  ASSERT_EQ(input.size(), 2u);
  EXPECT_EQ(input[0], (json::value{{"role", "user"}, {"content", "hi"}}));
  EXPECT_EQ(input[1].at("type"), "message");
  EXPECT_EQ(input[1].at("content").at(0).at("text").as_string(), kOpening);
}

TEST(ForcedTools, Responses_AfterAToolsResultTheAnswerIsBegun) {
  const json::value body =
      forced(Dialect::kResponses,
             R"({"input":[{"type":"function_call_output","call_id":"c","output":"1"}],
          "tools":[{"type":"function","name":"a"}],"tool_choice":"required"})");
  EXPECT_EQ(body.at("input").as_array().size(), 2u);
}

}  // namespace
}  // namespace glowplug::worker
