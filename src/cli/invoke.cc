#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/read_input.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

Result<std::string> read_event(const Context& context, const std::string& event) {
  if (event.empty()) return std::string("{}");
  Result<std::string> text =
      event == "-" ? read_all({.fd = context.console.in_fd, .cancel_fd = context.cancel_fd})
                   : read_file(event);
  if (!text) return text;
  if (const Result<boost::json::value> parsed = parse_json(*text); !parsed)
    return Error{std::string(kClientFailed),
                 fmt::format("the event in {}: {}", event == "-" ? "the input" : "'" + event + "'",
                             parsed.error().message),
                 "event"};
  return text;
}

// The server's word for it: the job's id, once it is on the disk.
int invoke_later(const Context& context, const std::string& name, const std::string& event) {
  boost::json::object body{{"function", name},
                           {"path", function_target(name, "/invoke")},
                           {"request", *parse_json(event)}};
  const Fetched got = fetch(context, context.server,
                            {.method = "POST", .target = "/v1/jobs", .body = to_text(body)});
  if (got.exit != 0) return got.exit;
  if (context.json)
    print_json(context, got.body);
  else
    context.console.out << text_field(got.body, "id") << std::endl;
  return 0;
}

}  // namespace

// The function's envelope is the answer, also when its statusCode is an error; only what the
// platform refuses is reported like every other refusal.
int invoke(const Context& context, const InvokeOptions& options) {
  const Result<std::string> event = read_event(context, options.event);
  if (!event) return report_error(context, event.error());
  if (options.async) return invoke_later(context, options.name, *event);
  const Result<HttpReply> reply =
      context.server.send({.method = "POST",
                           .target = function_target(options.name, "/invoke"),
                           .body = *event,
                           .idle_timeout = domain::kQueueTimeoutMax + 600s});
  if (!reply) return report_error(context, reply.error());
  const Result<boost::json::value> body = parse_json(reply->body);
  const bool envelope = body && field(*body, "statusCode") != nullptr;
  if (!reply->succeeded() && !envelope) return report_refusal(context, *reply);
  if (!reply->body.empty()) context.console.out << reply->body << std::endl;
  if (!reply->header("x-function-error").empty()) {
    context.console.err << fmt::format("glowplug: the function failed ({})",
                                       reply->header("x-function-error"))
                        << std::endl;
    return to_int(ExitCode::Failed);
  }
  if (!reply->succeeded())
    context.console.err << fmt::format("glowplug: the function answered {}", reply->status)
                        << std::endl;
  return to_int(exit_code_for_status(reply->status));
}

}  // namespace glowplug::cli
