#include "cli/commands.h"
#include "cli/json_fields.h"

namespace glowplug::cli {

// A server that does not answer is no failure here: the question is about this program first.
int version(const Context& context, const VersionOptions& options) {
  const Result<HttpReply> reply = context.server.send({.target = "/version", .idle_timeout = 2s});
  boost::json::value server = nullptr;
  if (reply && reply->succeeded())
    if (Result<boost::json::value> body = parse_json(reply->body); body) server = *std::move(body);
  if (context.json) {
    print_json(context, boost::json::object{{"version", options.version},
                                            {"engine", options.engine_commit},
                                            {"server", server}});
    return 0;
  }
  context.console.out << "glowplug " << options.version << " (engine " << options.engine_commit
                      << ")\n";
  if (server.is_object()) {
    context.console.out << "server   " << text_field(server, "version") << " at "
                        << context.server.url() << "\n";
  } else {
    context.console.err << "no server answers at " << context.server.url() << "\n";
  }
  context.console.out << std::flush;
  return 0;
}

}  // namespace glowplug::cli
