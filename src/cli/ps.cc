#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

std::string template_memory(const boost::json::value& function) {
  const boost::json::value* held = field(function, "template");
  if (held == nullptr) return "-";
  double bytes = number_field(*held, "memory_bytes");
  const boost::json::value* spares = field(*held, "spares");
  if (spares != nullptr && spares->is_array())
    for (const boost::json::value& spare : spares->get_array())
      bytes += number_field(spare, "memory_bytes");
  return format_bytes(static_cast<std::uint64_t>(bytes));
}

// "3", or of a split "3 (90 %), 4 (10 %)".
std::string revision_text(const boost::json::value& function) {
  const boost::json::value* revisions = field(function, "revisions");
  std::vector<std::string> shares;
  if (revisions != nullptr && revisions->is_array())
    for (const boost::json::value& one : revisions->get_array())
      if (const double weight = number_field(one, "weight"); weight > 0)
        shares.push_back(fmt::format("{} ({} %)", text_field(one, "revision"), weight));
  if (shares.size() < 2) return text_field(function, "revision");
  return fmt::format("{}", fmt::join(shares, ", "));
}

// "2 by schedule, template by preload for 4m".
std::string holds_text(const boost::json::value& function) {
  const boost::json::value* holds = field(function, "holds");
  std::vector<std::string> words;
  if (holds == nullptr || !holds->is_array()) return "";
  for (const boost::json::value& one : holds->get_array()) {
    const bool replicas = text_field(one, "tier") == "replica";
    const std::string left = text_field(one, "left");
    words.push_back(fmt::format("{} by {}{}", replicas ? text_field(one, "count") : "template",
                                text_field(one, "by"),
                                left.empty() || left == "-1" ? "" : " for " + left));
  }
  return fmt::format("{}", fmt::join(words, ", "));
}

// "4 wait, under 5: 2", while an autoscaler has something to decide by.
std::string wish_text(const boost::json::value& function) {
  const boost::json::value* scaling = field(function, "scaling");
  return scaling != nullptr && scaling->is_object() ? text_field(*scaling, "reason") : "";
}

}  // namespace

std::string functions_table(const boost::json::array& functions) {
  if (functions.empty()) return "no functions; deploy one with: glowplug deploy smollm2\n";
  std::vector<std::vector<std::string>> rows;
  std::string reasons;
  for (const boost::json::value& function : functions) {
    const std::string state = text_field(function, "state");
    rows.push_back(
        {text_field(function, "function"), revision_text(function), state,
         text_field(function, "tier"), text_field(function, "replicas"),
         text_field(function, "in_flight"),
         format_bytes(static_cast<std::uint64_t>(number_field(function, "memory_bytes"))),
         template_memory(function), text_field(function, "cold_starts"), holds_text(function),
         wish_text(function)});
    const std::string reason = text_field(function, "reason");
    if (state == "failed" && !reason.empty())
      reasons += fmt::format("{}: {}\n", text_field(function, "function"), reason);
  }
  std::vector<Column> columns{{"FUNCTION"},
                              {"REV", Align::Right},
                              {"STATE"},
                              {"TIER"},
                              {"REPLICAS", Align::Right},
                              {"IN-FLIGHT", Align::Right},
                              {"MEMORY", Align::Right},
                              {"TEMPLATE", Align::Right},
                              {"COLD-STARTS", Align::Right},
                              {"HELD"},
                              {"LOAD WANTS"}};
  for (std::size_t at : {columns.size() - 1, columns.size() - 2}) {  // where there is any
    if (std::any_of(rows.begin(), rows.end(), [at](const auto& row) { return !row[at].empty(); }))
      continue;
    const auto offset = static_cast<std::ptrdiff_t>(at);
    columns.erase(columns.begin() + offset);
    for (std::vector<std::string>& row : rows) row.erase(row.begin() + offset);
  }
  const std::string table = layout_table(columns, rows);
  return reasons.empty() ? table : table + "\n" + reasons;
}

int ps(const Context& context, const PsOptions& options) {
  if (!options.warm) return print_list(context, "/v1/functions", functions_table);
  return print_list(context, "/v1/functions?warm=true", [](const boost::json::array& functions) {
    return functions.empty() ? "nothing is warm; see: glowplug preload --help\n"
                             : functions_table(functions);
  });
}

}  // namespace glowplug::cli
