// What the fake engine answers to a generation request: a plan of every token of every choice, a
// pure function of the request. Words are "tokN" with N counted up from the prompt's hash; "emoji"
// in a prompt brings characters of several bytes; a JSON response_format or a forced tool brings
// the smallest JSON that its schema allows.
//
// Thread: pure. Knows nothing of HTTP, pace or faults.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/object.hpp>

#include "base/result.h"

namespace glowplug::worker {

inline constexpr int kCompletionTokens =
    16;  // without max_tokens, as OpenAI's legacy route; finish_reason length
inline constexpr int kChatTokens = 32;  // without max_tokens; finish_reason stop

enum class Api { kChat, kCompletions, kResponses, kMessages };

struct Choice {
  std::vector<std::string> pieces;  // one per token; the tool's arguments when a tool is called
  std::string finish;               // OpenAI's words: stop, length, tool_calls
  std::string stop_string;          // the one that ended it, if any
  std::string tool;                 // name; empty when no tool is called

  std::string text() const;
};

struct Answer {
  Api api = Api::kChat;
  std::string id;
  std::int64_t created = 0;  // seconds since 1970
  std::string model;
  int prompt_tokens = 0;
  int cached_tokens = 0;  // of them, that a slot held before
  long restored_us = 0;   // what restoring them took
  bool stream = false;
  bool include_usage = false;
  std::vector<Choice> choices;

  int completion_tokens() const;
};

// id and created stay empty: the caller knows the time and counts its answers.
[[nodiscard]] Result<Answer> plan_answer(Api api, const boost::json::object& request, int context);

// All the text in a request of any of the four APIs, in order, and its words.
[[nodiscard]] std::string prompt_text(const boost::json::object& request);
[[nodiscard]] int count_prompt_tokens(const boost::json::object& request);

[[nodiscard]] Result<boost::json::object> parse_request(std::string_view body);
[[nodiscard]] std::vector<std::string_view> words_of(std::string_view text);
[[nodiscard]] int count_words(std::string_view text);

}  // namespace glowplug::worker
