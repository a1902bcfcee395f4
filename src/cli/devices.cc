#include <boost/json/array.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"
#include "cli/wait.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

std::string bytes(const json::value& device, std::string_view name) {
  return format_bytes(static_cast<std::uint64_t>(number_field(device, name)));
}

std::string functions_of(const json::value& device) {
  std::string names;
  const json::value* found = field(device, "functions");
  if (found != nullptr && found->is_array())
    for (const json::value& one : found->get_array())
      if (one.is_string())
        names += (names.empty() ? "" : ", ") + std::string(std::string_view(one.get_string()));
  return names.empty() ? "-" : names;
}

std::string health_of(const json::value& device) {
  const std::string health = text_field(device, "health");
  const auto left = static_cast<std::int64_t>(number_field(device, "quarantined_ms"));
  if (left <= 0) return health;
  return fmt::format("{} for {}", health,
                     format_duration(std::chrono::milliseconds((left + 999) / 1000 * 1000)));
}

}  // namespace

std::string devices_table(const json::value& devices) {
  std::vector<std::vector<std::string>> rows;
  for (const json::value& device : data_of(devices))
    rows.push_back({text_field(device, "id"), text_field(device, "type"),
                    text_field(device, "origin"), bytes(device, "memory_bytes"),
                    bytes(device, "reserved_bytes"), functions_of(device), health_of(device)});
  return layout_table({{"DEVICE"},
                       {"TYPE"},
                       {"ORIGIN"},
                       {"MEMORY", Align::Right},
                       {"RESERVED", Align::Right},
                       {"FUNCTIONS"},
                       {"HEALTH"}},
                      rows);
}

int devices(const Context& context) {
  const Fetched got = fetch(context, context.admin, {.target = "/v1/admin/devices"});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body);
  else
    context.console.out << devices_table(got.body) << std::flush;
  return 0;
}

}  // namespace glowplug::cli
