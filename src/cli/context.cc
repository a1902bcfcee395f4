#include "cli/context.h"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "cli/json_fields.h"
#include "cli/wait.h"

namespace glowplug::cli {

Fetched fetch(const Context& context, const HttpClient& client, const HttpRequest& request) {
  const Result<HttpReply> reply = client.send(request);
  if (!reply) return {.exit = report_error(context, reply.error()), .body = nullptr};
  if (!reply->succeeded()) return {.exit = report_refusal(context, *reply), .body = nullptr};
  if (reply->body.empty()) return {};
  Result<boost::json::value> body = parse_json(reply->body);
  if (!body) return {.exit = report_error(context, body.error()), .body = nullptr};
  return {.exit = 0, .body = *std::move(body)};
}

int report_error(const Context& context, const Error& error) {
  context.console.err << "glowplug: " << error.message << std::endl;
  if (context.json) {
    boost::json::object inner{{"message", error.message},
                              {"type", "client_error"},
                              {"param", nullptr},
                              {"code", error.code}};
    if (!error.param.empty()) inner["param"] = error.param;
    print_json(context, boost::json::object{{"error", std::move(inner)}});
  }
  return to_int(exit_code_for_error(error.code));
}

int report_refusal(const Context& context, const HttpReply& reply) {
  const Result<boost::json::value> body = parse_json(reply.body);
  const boost::json::value* error = body ? field(*body, "error") : nullptr;
  std::string message = error != nullptr ? text_field(*error, "message") : "";
  if (message.empty())
    message = fmt::format("the server answered {} without saying why", reply.status);
  context.console.err << "glowplug: " << message << std::endl;
  if (reply.status == 401) context.console.err << "Set the key in GLOWPLUG_API_KEY." << std::endl;
  if (context.json) {
    boost::json::object inner{
        {"message", message}, {"type", "server_error"}, {"param", nullptr}, {"code", nullptr}};
    if (error != nullptr && error->is_object()) inner = error->get_object();
    print_json(context, boost::json::object{{"error", std::move(inner)}});
  }
  return to_int(exit_code_for_status(reply.status));
}

void print_json(const Context& context, const boost::json::value& value) {
  context.console.out << to_text(value) << std::endl;
}

std::string to_text(const boost::json::value& value) { return boost::json::serialize(value); }

int print_list(const Context& context, const std::string& target,
               const std::function<std::string(const boost::json::array&)>& shown) {
  const Fetched got = fetch(context, context.server, {.target = target});
  if (got.exit != 0) return got.exit;
  const boost::json::array list = data_of(got.body);
  if (context.json)
    print_json(context, list);
  else
    context.console.out << shown(list) << std::flush;
  return 0;
}

std::string function_target(std::string_view name, std::string_view suffix) {
  return fmt::format("/v1/functions/{}{}", percent_encode(name), suffix);
}

bool pause(const Context& context, Duration duration) {
  return wait_for({.cancel_fd = context.cancel_fd, .timeout = duration}) != Waited::Interrupted;
}

}  // namespace glowplug::cli
