#include "cli/commands.h"

namespace glowplug::cli {

int rm(const Context& context, const std::string& name) {
  // The server lets running calls end first, which may take as long as its drain timeout.
  const Fetched got =
      fetch(context, context.server,
            {.method = "DELETE", .target = function_target(name), .idle_timeout = 120s});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, boost::json::object{{"function", name}, {"deleted", true}});
  else
    context.console.out << "removed " << name << std::endl;
  return 0;
}

}  // namespace glowplug::cli
