#include <charconv>
#include <chrono>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"
#include "domain/checkpoint.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

constexpr std::size_t kDigestShown = 12;

int misused(const Context& context, const std::string& what) {
  return report_error(
      context,
      {std::string(kUsage),
       what + "; write: glowplug checkpoints NAME [list | save [STEP] | activate STEP | rollback | "
              "traffic STEP=WEIGHT… | rm STEP]",
       ""});
}

std::string checkpoints_table(const std::string& name, const json::array& list) {
  if (list.empty())
    return fmt::format("no checkpoints; save one with: glowplug checkpoints {} save\n", name);
  std::vector<std::vector<std::string>> rows;
  std::string reasons;
  for (const json::value& one : list) {
    const json::value* model = field(one, "model");
    const std::string source = model ? text_field(*model, "source") : "";
    const std::string digest = model ? text_field(*model, "sha256").substr(0, kDigestShown) : "";
    const double weight = number_field(one, "weight");
    const auto created = static_cast<std::time_t>(number_field(one, "created_at"));
    const std::string state = text_field(one, "state");
    rows.push_back({text_field(one, "id"), text_field(one, "revision"),
                    source.empty() ? "-" : source, digest.empty() ? "-" : digest,
                    fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(created)),
                    weight > 0 ? fmt::format("{} %", weight) : "-",
                    state == "damaged" ? state
                    : weight > 0       ? "active"
                                       : state});
    if (state == "damaged")
      reasons += fmt::format("{}: {}\n", text_field(one, "id"), text_field(one, "reason"));
  }
  const std::string table = layout_table({{"CHECKPOINT"},
                                          {"REV", Align::Right},
                                          {"MODEL"},
                                          {"DIGEST"},
                                          {"CREATED (UTC)"},
                                          {"TRAFFIC", Align::Right},
                                          {"STATE"}},
                                         rows);
  return reasons.empty() ? table : table + "\n" + reasons;
}

int list(const Context& context, const std::string& name) {
  return print_list(context, function_target(name, "/checkpoints"),
                    [&name](const json::array& saved) { return checkpoints_table(name, saved); });
}

int save(const Context& context, const std::string& name, const std::vector<std::string>& words) {
  json::object body;
  if (words.size() > 1) return misused(context, "save takes one step");
  if (!words.empty()) {
    const auto step = domain::parse_checkpoint(words.front());
    if (!step) return misused(context, fmt::format("'{}' is no step", words.front()));
    body["step"] = *step;
  }
  const Fetched got = fetch(
      context, context.server,
      {.method = "POST", .target = function_target(name, "/checkpoints"), .body = to_text(body)});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body);
  else
    context.console.out << fmt::format("{}: saved revision {} as {}", name,
                                       text_field(got.body, "revision"), text_field(got.body, "id"))
                        << std::endl;
  return 0;
}

// Of activate, traffic and rollback: what serves from now on.
int change(const Context& context, const std::string& name, const HttpRequest& request) {
  const Fetched got = fetch(context, context.server, request);
  if (got.exit != 0) return got.exit;
  if (context.json) {
    print_json(context, got.body);
    return 0;
  }
  const json::value* traffic = field(got.body, "traffic");
  if (traffic != nullptr && traffic->is_array())
    for (const json::value& one : traffic->get_array()) {
      const std::string id = text_field(one, "checkpoint");
      context.console.out << fmt::format(
          "{}: revision {}{} takes {} % of the calls\n", name, text_field(one, "revision"),
          id.empty() ? "" : " (" + id + ")", text_field(one, "weight"));
    }
  context.console.out << "What is new takes over once it is ready; glowplug ps shows it."
                      << std::endl;
  return 0;
}

int set_traffic(const Context& context, const std::string& name,
                const std::vector<std::string>& words) {
  if (words.empty()) return misused(context, "traffic takes at least one STEP=WEIGHT");
  json::object body;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    const std::string_view text = word;
    const auto step = equals == std::string::npos
                          ? std::nullopt
                          : domain::parse_checkpoint(text.substr(0, equals));
    int weight = 0;
    const char* begin = text.data() + std::min(equals, text.size() - 1) + 1;
    const char* end = text.data() + text.size();
    const auto [at, error] = std::from_chars(begin, end, weight);
    if (!step || error != std::errc() || at != end)
      return misused(context, fmt::format("'{}' is no STEP=WEIGHT", word));
    const std::string id = domain::checkpoint_name(*step);
    if (body.contains(id)) return misused(context, fmt::format("{} is named twice", id));
    body[id] = weight;
  }
  return change(
      context, name,
      {.method = "PUT", .target = function_target(name, "/traffic"), .body = to_text(body)});
}

int remove(const Context& context, const std::string& name, int step) {
  const std::string id = domain::checkpoint_name(step);
  const Fetched got =
      fetch(context, context.server,
            {.method = "DELETE", .target = function_target(name, "/checkpoints/" + id)});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, json::object{{"function", name}, {"checkpoint", id}, {"deleted", true}});
  else
    context.console.out << "removed " << id << " of " << name << std::endl;
  return 0;
}

}  // namespace

int checkpoints(const Context& context, const CheckpointsOptions& options) {
  const std::string& name = options.name;
  const std::vector<std::string>& words = options.words;
  const std::string& action = options.action;
  if (action == "save") return save(context, name, words);
  if (action == "traffic") return set_traffic(context, name, words);
  if (action == "list" || action == "rollback") {
    if (!words.empty()) return misused(context, action + " takes nothing more");
    if (action == "list") return list(context, name);
    return change(context, name,
                  {.method = "POST", .target = function_target(name, "/rollback"), .body = "{}"});
  }
  if (action != "activate" && action != "rm")
    return misused(context, fmt::format("'{}' is nothing that checkpoints does", action));
  const auto step = words.size() == 1 ? domain::parse_checkpoint(words.front()) : std::nullopt;
  if (!step) return misused(context, action + " takes one STEP");
  if (action == "rm") return remove(context, name, *step);
  const std::string suffix = "/checkpoints/" + domain::checkpoint_name(*step) + "/activate";
  return change(context, name,
                {.method = "POST", .target = function_target(name, suffix), .body = "{}"});
}

}  // namespace glowplug::cli
