#include "worker/forced_tools.h"

#include <cctype>
#include <set>

#include <boost/json.hpp>

namespace glowplug::worker {
namespace {

namespace json = boost::json;

std::string_view text_of(const json::value* value) {
  return value && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

const json::value* member(const json::value* value, std::string_view name) {
  return value && value->is_object() ? value->get_object().if_contains(name) : nullptr;
}

// A tool's name: under "function" in chat, at the top in the other two dialects.
std::string_view name_of(const json::value& tool) {
  const json::value* function = member(&tool, "function");
  return text_of(member(function ? function : &tool, "name"));
}

struct Choice {
  bool forced = false;
  std::set<std::string, std::less<>> names;  // empty: any tool may be called
};

Choice read_choice(const json::value& choice) {
  if (choice.is_string()) return {text_of(&choice) == "required", {}};
  const std::string_view type = text_of(member(&choice, "type"));
  if (type == "any") return {true, {}};
  if (type == "function" || type == "tool") return {true, {std::string(name_of(choice))}};
  if (type != "allowed_tools") return {};
  // Chat nests what responses keeps at the top.
  const json::value* inner = member(&choice, "allowed_tools");
  if (!inner) inner = &choice;
  Choice allowed{text_of(member(inner, "mode")) == "required", {}};
  if (const json::value* tools = member(inner, "tools"); tools && tools->is_array())
    for (const json::value& tool : tools->get_array()) allowed.names.emplace(name_of(tool));
  return allowed;
}

// An answer that the caller has begun itself is left as it is, and so are the other items of the
// assistant's.
bool waits_for_assistant(const json::array& list) {
  if (list.empty()) return false;
  const std::string_view role = text_of(member(&list.back(), "role"));
  return role == "user" || role == "tool" || role == "system" || role == "developer" ||
         text_of(member(&list.back(), "type")) == "function_call_output";
}

void begin_answer(Dialect dialect, json::object& request, std::string_view opening) {
  json::value& list = request[dialect == Dialect::kResponses ? "input" : "messages"];
  if (list.is_string()) list = json::array{json::object{{"role", "user"}, {"content", list}}};
  if (!list.is_array() || !waits_for_assistant(list.get_array())) return;
  json::object begun{{"role", "assistant"}, {"content", opening}};
  if (dialect == Dialect::kResponses) {
    begun["type"] = "message";
    begun["content"] = json::array{json::object{{"type", "output_text"}, {"text", opening}}};
  }
  list.get_array().push_back(std::move(begun));
}

// "</tool_call>" for "<tool_call>\n"; nothing for an opening that is no tag.
std::string closing_of(std::string_view opening) {
  while (!opening.empty() && std::isspace(static_cast<unsigned char>(opening.back())))
    opening.remove_suffix(1);
  const bool tag = opening.size() > 2 && opening.front() == '<' && opening.back() == '>' &&
                   opening.find_first_of("</>", 1) == opening.size() - 1;
  return tag ? "</" + std::string(opening.substr(1)) : std::string();
}

void end_after_one_call(Dialect dialect, json::object& request, std::string_view opening) {
  request["parallel_tool_calls"] = false;
  const std::string closing = closing_of(opening);
  if (closing.empty()) return;
  json::value& stops = request[dialect == Dialect::kMessages ? "stop_sequences" : "stop"];
  if (stops.is_string()) stops = json::array{stops};
  if (!stops.is_array()) stops = json::array{};
  stops.get_array().emplace_back(closing);
}

void keep_tools(json::value& tools, const Choice& choice) {
  if (choice.names.empty()) return;
  json::array allowed;
  for (const json::value& tool : tools.get_array())
    if (choice.names.contains(name_of(tool))) allowed.push_back(tool);
  tools = std::move(allowed);
}

}  // namespace

std::optional<std::string> force_tool_call(Dialect dialect, std::string_view body,
                                           std::string_view opening) {
  boost::system::error_code error;
  json::value parsed = json::parse(body, error);
  if (error || !parsed.is_object()) return std::nullopt;  // the engine says what is wrong with it
  json::object& request = parsed.get_object();
  const json::value* asked = request.if_contains("tool_choice");
  const json::value* parallel = request.if_contains("parallel_tool_calls");
  json::value* tools = request.if_contains("tools");
  if (!tools || !tools->is_array() || tools->get_array().empty()) return std::nullopt;
  const Choice choice = asked ? read_choice(*asked) : Choice{};
  const bool named = choice.forced && choice.names.size() == 1;
  const bool single = named || (parallel && parallel->is_bool() && !parallel->get_bool());
  if (!choice.forced && choice.names.empty() && !single) return std::nullopt;
  keep_tools(*tools, choice);
  if (choice.forced || !choice.names.empty()) {
    request["tool_choice"] = choice.forced ? "required" : "auto";
    if (dialect == Dialect::kMessages)
      request["tool_choice"] = json::object{{"type", choice.forced ? "any" : "auto"}};
  }
  if (single) end_after_one_call(dialect, request, opening);
  if (choice.forced && !opening.empty()) begin_answer(dialect, request, opening);
  return json::serialize(request);
}

}  // namespace glowplug::worker
