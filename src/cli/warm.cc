#include <fmt/format.h>

#include "cli/commands.h"

namespace glowplug::cli {

int warm(const Context& context, const WarmOptions& options) {
  const boost::json::object body{{"count", options.count}, {"for", options.duration}};
  const Fetched got = fetch(
      context, context.server,
      {.method = "POST", .target = function_target(options.name, "/warm"), .body = to_text(body)});
  if (got.exit != 0) return got.exit;
  if (context.json) {
    print_json(context,
               got.body.is_object() ? got.body : boost::json::object{{"function", options.name}});
  } else {
    context.console.out << fmt::format("{}: keeps {} replica{} warm for {}", options.name,
                                       options.count, options.count == 1 ? "" : "s",
                                       options.duration)
                        << std::endl;
  }
  return 0;
}

}  // namespace glowplug::cli
