#include <boost/json.hpp>

#include "worker/fake_replies.h"
#include "worker/fake_stream.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

// OpenAI's /v1/responses: every event carries its type and a sequence number.
class ResponsesStream final : public AnswerStream {
 public:
  explicit ResponsesStream(const Answer& answer)
      : answer_(answer), tool_(!answer.choices.front().tool.empty()) {}

  std::string opening() override {
    std::string events = event("response.created", {{"response", response_object(answer_, false)}});
    events += event("response.in_progress", {{"response", response_object(answer_, false)}});
    events += event("response.output_item.added",
                    {{"output_index", 0}, {"item", response_item(answer_, false)}});
    if (!tool_) events += event("response.content_part.added", in_part({{"part", part("")}}));
    return events;
  }

  std::string piece(std::size_t, std::size_t index) override {
    const std::string& text = answer_.choices.front().pieces[index];
    if (tool_) return event("response.function_call_arguments.delta", in_item({{"delta", text}}));
    return event("response.output_text.delta", in_part({{"delta", text}}));
  }

  std::string closing() override {
    const std::string text = answer_.choices.front().text();
    std::string events;
    if (tool_) {
      events += event("response.function_call_arguments.done", in_item({{"arguments", text}}));
    } else {
      events += event("response.output_text.done", in_part({{"text", text}}));
      events += event("response.content_part.done", in_part({{"part", part(text)}}));
    }
    events += event("response.output_item.done",
                    {{"output_index", 0}, {"item", response_item(answer_, true)}});
    const bool cut = answer_.choices.front().finish == "length";
    return events + event(cut ? "response.incomplete" : "response.completed",
                          {{"response", response_object(answer_, true)}});
  }

 private:
  static json::object part(const std::string& text) {
    return {{"type", "output_text"}, {"text", text}, {"annotations", json::array{}}};
  }

  json::object in_item(json::object data) const {
    data["item_id"] = response_item(answer_, false).at("id");
    data["output_index"] = 0;
    return data;
  }

  json::object in_part(json::object data) const {
    data = in_item(std::move(data));
    data["content_index"] = 0;
    return data;
  }

  std::string event(std::string_view name, json::object data) {
    data["type"] = name;
    data["sequence_number"] = sequence_++;
    return sse_event(name, data);
  }

  const Answer& answer_;
  const bool tool_;
  int sequence_ = 0;
};

// Anthropic's /v1/messages.
class MessagesStream final : public AnswerStream {
 public:
  explicit MessagesStream(const Answer& answer)
      : answer_(answer), choice_(answer.choices.front()) {}

  std::string opening() override {
    const json::object message{{"id", answer_.id},         {"type", "message"},
                               {"role", "assistant"},      {"model", answer_.model},
                               {"content", json::array{}}, {"stop_reason", nullptr},
                               {"stop_sequence", nullptr}, {"usage", messages_usage(answer_, 0)}};
    json::object block{{"type", "text"}, {"text", ""}};
    if (!choice_.tool.empty()) {
      block = {{"type", "tool_use"},
               {"id", call_id(answer_, 0)},
               {"name", choice_.tool},
               {"input", json::object{}}};
    }
    return sse_event("message_start", {{"type", "message_start"}, {"message", message}}) +
           sse_event("content_block_start", {{"type", "content_block_start"},
                                             {"index", 0},
                                             {"content_block", std::move(block)}});
  }

  std::string piece(std::size_t, std::size_t index) override {
    json::object delta{{"type", "text_delta"}, {"text", choice_.pieces[index]}};
    if (!choice_.tool.empty()) {
      delta = {{"type", "input_json_delta"}, {"partial_json", choice_.pieces[index]}};
    }
    return sse_event("content_block_delta",
                     {{"type", "content_block_delta"}, {"index", 0}, {"delta", std::move(delta)}});
  }

  std::string closing() override {
    json::value stop_sequence = nullptr;
    if (!choice_.stop_string.empty()) stop_sequence = json::string(choice_.stop_string);
    const json::object delta{{"stop_reason", messages_stop_reason(choice_)},
                             {"stop_sequence", std::move(stop_sequence)}};
    return sse_event("content_block_stop", {{"type", "content_block_stop"}, {"index", 0}}) +
           sse_event("message_delta",
                     {{"type", "message_delta"},
                      {"delta", delta},
                      {"usage", messages_usage(answer_, answer_.completion_tokens())}}) +
           sse_event("message_stop", {{"type", "message_stop"}});
  }

 private:
  const Answer& answer_;
  const Choice& choice_;
};

}  // namespace

std::unique_ptr<AnswerStream> make_responses_stream(const Answer& answer) {
  return std::make_unique<ResponsesStream>(answer);
}

std::unique_ptr<AnswerStream> make_messages_stream(const Answer& answer) {
  return std::make_unique<MessagesStream>(answer);
}

}  // namespace glowplug::worker
