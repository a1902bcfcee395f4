#include "gateway/tool_request.h"

#include <set>
#include <string>

#include <boost/json/array.hpp>

#include "fmt/format.h"
#include "gateway/request_fields.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using std::string_view;

// Empty when the entry has no name, as hosted tools of other vendors have none.
string_view text(const json::object& object, string_view name) {
  const json::value* value = field(object, name);
  return value && value->is_string() ? string_view(value->as_string()) : string_view();
}

string_view name_of(const json::object& entry) {
  const json::value* function = field(entry, "function");
  return text(function && function->is_object() ? function->as_object() : entry, "name");
}

Result<std::set<string_view>> names_of(Surface surface, const json::array& tools) {
  std::set<string_view> names;
  for (std::size_t i = 0; i < tools.size(); ++i) {
    const std::string at = fmt::format("tools[{}]", i);
    if (!tools[i].is_object()) return invalid(at, "must be an object.");
    const json::object& tool = tools[i].as_object();
    const string_view type = text(tool, "type");
    if (surface != Surface::Messages && surface != Surface::CountTokens && type != "function")
      return unsupported(at + ".type", "must be function: hosted tools do not run here.");
    if (surface == Surface::Chat && !field(tool, "function"))
      return missing(at + ".function", "is required.");
    const string_view name = name_of(tool);
    const std::string where = surface == Surface::Chat ? at + ".function.name" : at + ".name";
    if (name.empty()) return missing(where, "is required.");
    if (!names.insert(name).second)
      return invalid(where, fmt::format("names `{}` a second time.", name));
  }
  return names;
}

Result<void> check_named(const std::set<string_view>& names, string_view name) {
  if (names.contains(name)) return {};
  return invalid("tool_choice", fmt::format("names `{}`, which is not among tools.", name));
}

Result<void> check_allowed(const json::object& choice, const std::set<string_view>& names) {
  const json::value* inner = field(choice, "allowed_tools");
  const json::object& allowed = inner && inner->is_object() ? inner->as_object() : choice;
  const string_view mode = text(allowed, "mode");
  const json::value* list = field(allowed, "tools");
  if ((mode != "auto" && mode != "required") || !list || !list->is_array() ||
      list->as_array().empty())
    return invalid("tool_choice",
                   "of type allowed_tools needs a mode, auto or required, and tools.");
  for (const json::value& tool : list->as_array()) {
    const string_view name = tool.is_object() ? name_of(tool.as_object()) : string_view();
    if (Result<void> known = check_named(names, name); !known) return known;
  }
  return {};
}

Result<void> check_choice_object(Surface surface, const json::object& choice,
                                 const std::set<string_view>& names) {
  const string_view type = text(choice, "type");
  if (surface == Surface::Messages || surface == Surface::CountTokens) {
    if (type == "auto" || type == "any" || type == "none") return {};
    if (type == "tool") return check_named(names, text(choice, "name"));
    return invalid("tool_choice", "must have the type auto, any, tool or none.");
  }
  if (type == "function") return check_named(names, name_of(choice));
  if (type == "allowed_tools") return check_allowed(choice, names);
  return invalid("tool_choice", "must have the type function or allowed_tools.");
}

}  // namespace

Result<void> check_tools(Surface surface, const json::object& request) {
  if (Result<void> kind = check_kind(request, "tools", JsonKind::Array); !kind) return kind;
  const json::value* tools = field(request, "tools");
  Result<std::set<string_view>> names =
      tools ? names_of(surface, tools->as_array()) : std::set<string_view>{};
  if (!names) return names.error();
  const json::value* choice = field(request, "tool_choice");
  if (!choice) return {};
  if (choice->is_object()) return check_choice_object(surface, choice->as_object(), *names);
  const string_view word = choice->is_string() ? string_view(choice->as_string()) : string_view();
  const bool anthropic = surface == Surface::Messages || surface == Surface::CountTokens;
  if (anthropic) return invalid("tool_choice", "must be an object with a type.");
  if (word != "none" && word != "auto" && word != "required")
    return invalid("tool_choice", "must be none, auto, required or an object.");
  if (word == "required" && names->empty()) return missing("tools", "is required by tool_choice.");
  return {};
}

Result<void> check_tool_template(const domain::Manifest& manifest,
                                 const domain::ModelFacts& facts) {
  if (manifest.engine.kind != domain::EngineKind::Llama || manifest.chat_template != "builtin")
    return {};
  if (facts.path.empty() || facts.chat_template.find("tools") != std::string::npos) return {};
  return unsupported("tools", "cannot be expressed by the chat template of " + manifest.name +
                                  "; set chat_template: tools in the manifest.");
}

}  // namespace glowplug::gateway
