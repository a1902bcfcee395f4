#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {

int models(const Context& context) {
  const Fetched got = fetch(context, context.server, {.target = "/v1/models"});
  if (got.exit != 0) return got.exit;
  const boost::json::array list = data_of(got.body);
  if (context.json) {
    print_json(context, list);
    return 0;
  }
  if (list.empty()) {
    context.console.out << "no models; deploy one with: glowplug deploy smollm2" << std::endl;
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const boost::json::value& model : list)
    rows.push_back({text_field(model, "id"), text_field(model, "state"), text_field(model, "tier"),
                    text_field(model, "context_length")});
  context.console.out << layout_table({{"MODEL"}, {"STATE"}, {"TIER"}, {"CONTEXT", Align::Right}},
                                      rows)
                      << std::flush;
  return 0;
}

}  // namespace glowplug::cli
