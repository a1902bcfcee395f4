#include "worker/fake_stream.h"

#include <boost/json.hpp>

#include "worker/fake_replies.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

// OpenAI's chat and legacy completion chunks.
class ChunkStream final : public AnswerStream {
 public:
  explicit ChunkStream(const Answer& answer) : answer_(answer), chat_(answer.api == Api::kChat) {}

  std::string opening() override {
    std::string events;
    for (std::size_t i = 0; chat_ && i < answer_.choices.size(); ++i) {
      json::object delta{{"role", "assistant"}, {"content", ""}};
      if (const Choice& choice = answer_.choices[i]; !choice.tool.empty()) {
        delta["content"] = nullptr;
        delta["tool_calls"] =
            json::array{json::object{{"index", 0},
                                     {"id", call_id(answer_, i)},
                                     {"type", "function"},
                                     {"function", {{"name", choice.tool}, {"arguments", ""}}}}};
      }
      events += chunk(json::array{choice_chunk(i, std::move(delta), nullptr)});
    }
    return events;
  }

  std::string piece(std::size_t choice, std::size_t index) override {
    const std::string& text = answer_.choices[choice].pieces[index];
    if (!chat_) {
      return chunk(json::array{json::object{
          {"index", choice}, {"text", text}, {"logprobs", nullptr}, {"finish_reason", nullptr}}});
    }
    json::object delta{{"content", text}};
    if (!answer_.choices[choice].tool.empty()) {
      delta = {{"tool_calls",
                json::array{json::object{{"index", 0}, {"function", {{"arguments", text}}}}}}};
    }
    return chunk(json::array{choice_chunk(choice, std::move(delta), nullptr)});
  }

  std::string closing() override {
    std::string events;
    for (std::size_t i = 0; i < answer_.choices.size(); ++i) {
      const json::value finish = json::string(answer_.choices[i].finish);
      events +=
          chat_
              ? chunk(json::array{choice_chunk(i, {}, finish)})
              : chunk(json::array{json::object{
                    {"index", i}, {"text", ""}, {"logprobs", nullptr}, {"finish_reason", finish}}});
    }
    if (answer_.include_usage) events += chunk({}, openai_usage(answer_));
    return events + "data: [DONE]\n\n";
  }

 private:
  static json::object choice_chunk(std::size_t index, json::object delta, json::value finish) {
    return {{"index", index},
            {"delta", std::move(delta)},
            {"logprobs", nullptr},
            {"finish_reason", std::move(finish)}};
  }

  std::string chunk(json::array choices, json::value usage = nullptr) const {
    json::object data{{"id", answer_.id},
                      {"object", chat_ ? "chat.completion.chunk" : "text_completion"},
                      {"created", answer_.created},
                      {"model", answer_.model}};
    data["choices"] = std::move(choices);
    if (answer_.include_usage) data["usage"] = std::move(usage);
    return sse_event("", data);
  }

  const Answer& answer_;
  const bool chat_;
};

}  // namespace

std::unique_ptr<AnswerStream> make_chunk_stream(const Answer& answer) {
  return std::make_unique<ChunkStream>(answer);
}

std::unique_ptr<AnswerStream> make_stream(const Answer& answer) {
  switch (answer.api) {
    case Api::kResponses: return make_responses_stream(answer);
    case Api::kMessages: return make_messages_stream(answer);
    case Api::kChat:
    case Api::kCompletions: break;
  }
  return make_chunk_stream(answer);
}

std::string sse_event(std::string_view name, const json::object& data) {
  std::string event;
  if (!name.empty()) event = "event: " + std::string(name) + "\n";
  return event + "data: " + json::serialize(data) + "\n\n";
}

}  // namespace glowplug::worker
