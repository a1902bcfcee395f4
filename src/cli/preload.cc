#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/follow.h"
#include "cli/json_fields.h"

namespace glowplug::cli {

int preload(const Context& context, const PreloadOptions& options) {
  const boost::json::object body{{"tier", options.tier}, {"for", options.duration}};
  const HttpRequest wish{
      .method = "POST", .target = function_target(options.name, "/preload"), .body = to_text(body)};
  const Fetched got = fetch(context, context.server, wish);
  if (got.exit != 0) return got.exit;
  boost::json::value said = got.body;
  if (options.wait) {
    const auto tier = domain::tier_named(options.tier).value_or(domain::Tier::Replica);
    Fetched there = follow(context, {.name = options.name, .until = tier, .wish = wish});
    if (there.exit != 0) return there.exit;
    said = std::move(there.body);
  }
  if (context.json) {
    print_json(context, said);
    return 0;
  }
  const bool held = options.tier == "template" || options.tier == "replica";
  context.console.out << fmt::format("{}: {} {}{}", options.name,
                                     options.wait ? "is at tier" : "comes to tier", options.tier,
                                     held ? ", held for " + options.duration : "")
                      << std::endl;
  return 0;
}

}  // namespace glowplug::cli
