#include "worker/fake_replies.h"

#include <boost/json.hpp>

namespace glowplug::worker {
namespace {

namespace json = boost::json;

json::object chat_message(const Answer& answer, std::size_t index) {
  const Choice& choice = answer.choices[index];
  if (choice.tool.empty()) return {{"role", "assistant"}, {"content", choice.text()}};
  const json::object call{{"id", call_id(answer, index)},
                          {"type", "function"},
                          {"function", {{"name", choice.tool}, {"arguments", choice.text()}}}};
  return {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", json::array{call}}};
}

std::string openai_body(const Answer& answer) {
  const bool chat = answer.api == Api::kChat;
  json::array choices;
  for (std::size_t i = 0; i < answer.choices.size(); ++i) {
    json::object choice{
        {"index", i}, {"logprobs", nullptr}, {"finish_reason", answer.choices[i].finish}};
    if (chat) {
      choice["message"] = chat_message(answer, i);
    } else {
      choice["text"] = answer.choices[i].text();
    }
    choices.push_back(std::move(choice));
  }
  return json::serialize(json::object{{"id", answer.id},
                                      {"object", chat ? "chat.completion" : "text_completion"},
                                      {"created", answer.created},
                                      {"model", answer.model},
                                      {"choices", std::move(choices)},
                                      {"usage", openai_usage(answer)}});
}

std::string messages_body(const Answer& answer) {
  const Choice& choice = answer.choices.front();
  json::object content{{"type", "text"}, {"text", choice.text()}};
  if (!choice.tool.empty()) {
    boost::system::error_code failure;
    json::value input = json::parse(choice.text(), failure);
    if (failure) input = json::object{};
    content = {{"type", "tool_use"},
               {"id", call_id(answer, 0)},
               {"name", choice.tool},
               {"input", std::move(input)}};
  }
  json::value stop_sequence = nullptr;
  if (!choice.stop_string.empty()) stop_sequence = json::string(choice.stop_string);
  return json::serialize(
      json::object{{"id", answer.id},
                   {"type", "message"},
                   {"role", "assistant"},
                   {"model", answer.model},
                   {"content", json::array{std::move(content)}},
                   {"stop_reason", messages_stop_reason(choice)},
                   {"stop_sequence", std::move(stop_sequence)},
                   {"usage", messages_usage(answer, answer.completion_tokens())}});
}

}  // namespace

std::string reply_body(const Answer& answer) {
  switch (answer.api) {
    case Api::kChat:
    case Api::kCompletions: return openai_body(answer);
    case Api::kResponses: return json::serialize(response_object(answer, true));
    case Api::kMessages: return messages_body(answer);
  }
  return {};
}

json::object openai_usage(const Answer& answer) {
  const int completion = answer.completion_tokens();
  return {{"prompt_tokens", answer.prompt_tokens},
          {"completion_tokens", completion},
          {"total_tokens", answer.prompt_tokens + completion},
          {"prompt_tokens_details", {{"cached_tokens", answer.cached_tokens}}}};
}

json::object responses_usage(const Answer& answer) {
  const int output = answer.completion_tokens();
  return {{"input_tokens", answer.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", answer.cached_tokens}}},
          {"output_tokens", output},
          {"output_tokens_details", {{"reasoning_tokens", 0}}},
          {"total_tokens", answer.prompt_tokens + output}};
}

json::object messages_usage(const Answer& answer, int output_tokens) {
  return {{"input_tokens", answer.prompt_tokens - answer.cached_tokens},
          {"output_tokens", output_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", answer.cached_tokens}};
}

json::object response_item(const Answer& answer, bool finished) {
  const Choice& choice = answer.choices.front();
  const char* status = !finished                   ? "in_progress"
                       : choice.finish == "length" ? "incomplete"
                                                   : "completed";
  if (!choice.tool.empty()) {
    return {{"type", "function_call"},
            {"id", "fc_" + answer.id},
            {"call_id", call_id(answer, 0)},
            {"name", choice.tool},
            {"arguments", finished ? choice.text() : std::string()},
            {"status", status}};
  }
  json::array content;
  if (finished) {
    content.push_back(json::object{
        {"type", "output_text"}, {"text", choice.text()}, {"annotations", json::array{}}});
  }
  return {{"type", "message"},
          {"id", "msg_" + answer.id},
          {"role", "assistant"},
          {"status", status},
          {"content", std::move(content)}};
}

json::object response_object(const Answer& answer, bool finished) {
  const bool cut = answer.choices.front().finish == "length";
  json::object response{{"id", answer.id},
                        {"object", "response"},
                        {"created_at", answer.created},
                        {"status", !finished ? "in_progress"
                                   : cut     ? "incomplete"
                                             : "completed"},
                        {"error", nullptr},
                        {"incomplete_details", nullptr},
                        {"model", answer.model},
                        {"output", json::array{}},
                        {"parallel_tool_calls", true},
                        {"tool_choice", "auto"},
                        {"tools", json::array{}},
                        {"usage", nullptr}};
  if (!finished) return response;
  if (cut) response["incomplete_details"] = json::object{{"reason", "max_output_tokens"}};
  response["output"] = json::array{response_item(answer, true)};
  response["usage"] = responses_usage(answer);
  return response;
}

std::string messages_stop_reason(const Choice& choice) {
  if (choice.finish == "tool_calls") return "tool_use";
  if (choice.finish == "length") return "max_tokens";
  return choice.stop_string.empty() ? "end_turn" : "stop_sequence";
}

std::string call_id(const Answer& answer, std::size_t choice) {
  return "call_" + answer.id + "_" + std::to_string(choice);
}

}  // namespace glowplug::worker
