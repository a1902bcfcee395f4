#include "worker/fake_answer.h"

#include <algorithm>
#include <array>
#include <optional>

#include <boost/json.hpp>

#include "base/fnv.h"
#include "domain/errors.h"
#include "worker/fake_schema.h"

namespace glowplug::worker {
namespace {

namespace json = boost::json;

constexpr int kChoicesMax = 128;
constexpr std::size_t kJsonPieceBytes = 4;
constexpr std::array<const char*, 4> kWideCharacters = {"😀", "é", "漢", "👩‍👩‍👧"};

Error invalid(std::string_view code, std::string message, std::string param) {
  return Error{std::string(code), std::move(message), std::move(param)};
}

// Text of a string, of parts with a text, of messages with a content, or of a list of those.
void append_text(const json::value& value, std::string& out) {
  if (value.is_string()) {
    if (!out.empty()) out += '\n';
    out += value.get_string();
  } else if (value.is_array()) {
    for (const json::value& item : value.get_array()) append_text(item, out);
  } else if (value.is_object()) {
    for (const char* field : {"text", "content", "output", "arguments"}) {
      if (const auto* inner = value.get_object().if_contains(field)) append_text(*inner, out);
    }
  } else if (value.is_number()) {
    out += " " + json::serialize(value);  // a token id counts as a word
  }
}

Result<std::optional<int>> whole_number(const json::object& request, const char* field, int low) {
  const auto* value = request.if_contains(field);
  if (!value || value->is_null()) return std::optional<int>();
  boost::system::error_code failure;
  const int number = value->to_number<int>(failure);
  if (failure || number < low) {
    return invalid(
        domain::error::kInvalidValue,
        std::string(field) + " must be a whole number of at least " + std::to_string(low), field);
  }
  return std::optional<int>(number);
}

bool is_true(const json::object& request, const char* field) {
  const auto* value = request.if_contains(field);
  return value && value->is_bool() && value->get_bool();
}

std::vector<std::string> stop_strings(const json::object& request) {
  std::vector<std::string> stops;
  for (const char* field : {"stop", "stop_sequences"}) {
    const auto* value = request.if_contains(field);
    if (!value) continue;
    if (value->is_string()) stops.emplace_back(value->get_string());
    if (!value->is_array()) continue;
    for (const json::value& item : value->get_array()) {
      if (item.is_string()) stops.emplace_back(item.get_string());
    }
  }
  std::erase(stops, std::string());
  return stops;
}

const json::value* find(const json::value* from, std::initializer_list<const char*> path) {
  for (const char* field : path) {
    if (!from || !from->is_object()) return nullptr;
    from = from->get_object().if_contains(field);
  }
  return from;
}

// The JSON that response_format (chat) or text.format (responses) asks for.
std::optional<std::string> formatted_answer(const json::value& request) {
  const json::value* format = find(&request, {"response_format"});
  if (!format) format = find(&request, {"text", "format"});
  const json::value* type = find(format, {"type"});
  if (!type || !type->is_string()) return std::nullopt;
  if (type->get_string() == "json_object") {
    const json::value* schema = find(format, {"schema"});
    return schema ? json::serialize(minimal_instance(*schema)) : "{}";
  }
  if (type->get_string() != "json_schema") return std::nullopt;
  const json::value* schema = find(format, {"json_schema", "schema"});
  if (!schema) schema = find(format, {"schema"});
  return schema ? json::serialize(minimal_instance(*schema)) : "{}";
}

struct ToolCall {
  std::string name;
  std::string arguments;
};

// The tool that tool_choice forces: the named one, or the first when any will do.
std::optional<ToolCall> forced_tool(const json::value& request) {
  const json::value* choice = find(&request, {"tool_choice"});
  const json::value* tools = find(&request, {"tools"});
  if (!choice || !tools || !tools->is_array() || tools->get_array().empty()) return std::nullopt;
  std::string wanted;
  if (choice->is_string()) {
    if (choice->get_string() != "required") return std::nullopt;
  } else {
    const json::value* type = find(choice, {"type"});
    if (!type || !type->is_string() || type->get_string() == "auto" ||
        type->get_string() == "none") {
      return std::nullopt;
    }
    const json::value* name = find(choice, {"function", "name"});
    if (!name) name = find(choice, {"name"});
    if (name && name->is_string()) wanted = name->get_string();
  }
  for (const json::value& tool : tools->get_array()) {
    const json::value* body = find(&tool, {"function"}) ? find(&tool, {"function"}) : &tool;
    const json::value* name = find(body, {"name"});
    if (!name || !name->is_string() || (!wanted.empty() && name->get_string() != wanted)) continue;
    const json::value* schema = find(body, {"parameters"});
    if (!schema) schema = find(body, {"input_schema"});
    return ToolCall{std::string(name->get_string()),
                    schema ? json::serialize(minimal_instance(*schema)) : std::string("{}")};
  }
  return std::nullopt;
}

bool continues_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

std::vector<std::string> json_pieces(std::string_view text) {
  std::vector<std::string> pieces;
  while (!text.empty()) {
    std::size_t end = std::min(kJsonPieceBytes, text.size());
    while (end < text.size() && continues_character(text[end])) ++end;
    pieces.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

std::vector<std::string> word_pieces(std::string_view prompt, int choice, int count) {
  const bool wide = prompt.find("emoji") != std::string_view::npos;
  const std::uint64_t first = (fnv(prompt) + static_cast<std::uint64_t>(choice) * 37) % 1000;
  std::vector<std::string> pieces;
  for (int i = 0; i < count; ++i) {
    std::string piece =
        (i ? " tok" : "tok") + std::to_string(first + static_cast<std::uint64_t>(i));
    if (wide && i % 2 == 0)
      piece += kWideCharacters[static_cast<std::size_t>(i / 2) % kWideCharacters.size()];
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

// Cuts the choice before the earliest stop string, as engines do: the string itself is not part of
// the answer.
void apply_stops(Choice& choice, const std::vector<std::string>& stops) {
  const std::string text = choice.text();
  std::size_t cut = std::string::npos;
  for (const std::string& stop : stops) {
    if (const std::size_t at = text.find(stop); at < cut) {
      cut = at;
      choice.stop_string = stop;
    }
  }
  if (cut == std::string::npos) return;
  choice.finish = "stop";
  std::size_t kept = 0;
  for (std::size_t i = 0; i < choice.pieces.size(); ++i) {
    if (kept + choice.pieces[i].size() >= cut) {
      choice.pieces[i].resize(cut - kept);
      choice.pieces.resize(choice.pieces[i].empty() ? i : i + 1);
      return;
    }
    kept += choice.pieces[i].size();
  }
}

Result<std::optional<int>> token_limit(const json::object& request) {
  for (const char* field : {"max_completion_tokens", "max_output_tokens", "max_tokens"}) {
    auto limit = whole_number(request, field, field == std::string_view("max_tokens") ? 0 : 1);
    if (!limit || *limit) return limit;
  }
  return std::optional<int>();
}

Choice plan_choice(Api api, const json::object& request, const std::string& prompt, int index,
                   int room, std::optional<int> limit) {
  Choice choice;
  choice.finish = "stop";
  const json::value whole(request);
  if (auto tool = forced_tool(whole); tool && api != Api::kCompletions) {
    choice.tool = tool->name;
    choice.pieces = json_pieces(tool->arguments);
    choice.finish = "tool_calls";
  } else if (auto formatted = formatted_answer(whole)) {
    choice.pieces = json_pieces(*formatted);
  } else {
    const int natural = api == Api::kCompletions ? kCompletionTokens : kChatTokens;
    choice.pieces = word_pieces(prompt, index, std::min(limit.value_or(natural), room));
    if (limit || api == Api::kCompletions || room < natural) choice.finish = "length";
    apply_stops(choice, stop_strings(request));
    return choice;
  }
  const auto most = static_cast<std::size_t>(std::min(limit.value_or(room), room));
  if (choice.pieces.size() > most) {
    choice.pieces.resize(most);
    choice.finish = "length";
  }
  return choice;
}

// Completions take a list of prompts; everything else is one prompt.
std::vector<std::string> prompts_of(Api api, const json::object& request) {
  const auto* prompt = request.if_contains("prompt");
  if (api != Api::kCompletions || !prompt || !prompt->is_array() || prompt->get_array().empty() ||
      prompt->get_array().front().is_number()) {
    return {prompt_text(request)};
  }
  std::vector<std::string> prompts;
  for (const json::value& item : prompt->get_array()) append_text(item, prompts.emplace_back());
  return prompts;
}

}  // namespace

std::string prompt_text(const json::object& request) {
  std::string text;
  for (const char* field : {"system", "instructions", "messages", "input", "prompt"}) {
    if (const auto* value = request.if_contains(field)) append_text(*value, text);
  }
  return text;
}

std::string Choice::text() const {
  std::string whole;
  for (const std::string& piece : pieces) whole += piece;
  return whole;
}

int Answer::completion_tokens() const {
  std::size_t total = 0;
  for (const Choice& choice : choices) total += choice.pieces.size();
  return static_cast<int>(total);
}

Result<Answer> plan_answer(Api api, const json::object& request, int context) {
  const char* input = api == Api::kCompletions ? "prompt"
                      : api == Api::kResponses ? "input"
                                               : "messages";
  if (!request.contains(input)) {
    return invalid(domain::error::kMissingField, std::string(input) + " is required", input);
  }
  const auto limit = token_limit(request);
  if (!limit) return limit.error();
  const auto count = whole_number(request, "n", 1);
  if (!count) return count.error();
  const int choices = count->value_or(1);
  if (choices > kChoicesMax) {
    return invalid(domain::error::kInvalidValue, "n must be at most " + std::to_string(kChoicesMax),
                   "n");
  }

  Answer answer;
  answer.api = api;
  const auto* model = request.if_contains("model");
  answer.model = model && model->is_string() ? std::string(model->get_string()) : "fake";
  answer.stream = is_true(request, "stream");
  if (const auto* options = request.if_contains("stream_options");
      options && options->is_object()) {
    answer.include_usage = is_true(options->get_object(), "include_usage");
  }
  for (const std::string& prompt : prompts_of(api, request)) {
    const int words = count_words(prompt);
    if (words >= context) {
      return invalid(domain::error::kContextLengthExceeded,
                     "the prompt has " + std::to_string(words) + " tokens and the context " +
                         std::to_string(context),
                     input);
    }
    answer.prompt_tokens += words;
    for (int i = 0; i < choices; ++i) {
      answer.choices.push_back(plan_choice(api, request, prompt, i, context - words, *limit));
    }
  }
  return answer;
}

int count_prompt_tokens(const json::object& request) { return count_words(prompt_text(request)); }

Result<json::object> parse_request(std::string_view body) {
  boost::system::error_code failure;
  json::value value = json::parse(body, failure);
  if (failure) {
    return invalid(domain::error::kInvalidJson, "the body is no valid JSON: " + failure.message(),
                   "");
  }
  if (!value.is_object())
    return invalid(domain::error::kInvalidJson, "the body must be a JSON object", "");
  return std::move(value.get_object());
}

std::vector<std::string_view> words_of(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  std::vector<std::string_view> words;
  for (auto at = text.begin(); at != text.end();) {
    const auto begin = std::find_if_not(at, text.end(), is_space);
    at = std::find_if(begin, text.end(), is_space);
    if (begin != at) words.emplace_back(begin, at);
  }
  return words;
}

int count_words(std::string_view text) { return static_cast<int>(words_of(text).size()); }

}  // namespace glowplug::worker
