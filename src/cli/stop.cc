#include "cli/commands.h"

namespace glowplug::cli {

int stop(const Context& context, const std::string& name) {
  const Fetched got =
      fetch(context, context.server, {.method = "POST", .target = function_target(name, "/stop")});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body.is_object() ? got.body : boost::json::object{{"function", name}});
  else
    context.console.out << name << " stops; the next call starts it again" << std::endl;
  return 0;
}

}  // namespace glowplug::cli
