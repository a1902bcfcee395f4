#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

std::string models_table(const boost::json::array& models) {
  if (models.empty()) return "no models; deploy one with: glowplug deploy smollm2\n";
  std::vector<std::vector<std::string>> rows;
  for (const boost::json::value& model : models)
    rows.push_back({text_field(model, "id"), text_field(model, "state"), text_field(model, "tier"),
                    text_field(model, "context_length")});
  return layout_table({{"MODEL"}, {"STATE"}, {"TIER"}, {"CONTEXT", Align::Right}}, rows);
}

}  // namespace

int models(const Context& context) { return print_list(context, "/v1/models", models_table); }

}  // namespace glowplug::cli
