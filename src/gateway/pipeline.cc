#include "gateway/pipeline.h"

#include "domain/errors.h"
#include "gateway/host_check.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace error = domain::error;

Reply unknown_route(const Exchange& exchange) {
  return exchange.error_reply(Error{std::string(error::kNotFound),
                                    "There is no route " + exchange.method + " " +
                                        exchange.path.substr(0, 200) + "; /openapi.yaml lists all.",
                                    ""});
}

Reply wrong_method(const Exchange& exchange, const std::string& allow) {
  Reply reply = exchange.error_reply(Error{
      std::string(error::kMethodNotAllowed),
      exchange.path.substr(0, 200) + " takes " + allow + ", not " + exchange.method + ".", ""});
  reply.headers += "allow: " + allow + "\r\n";
  return reply;
}

Reply options_reply(const std::string& allow) {
  Reply reply;
  reply.status = 204;
  reply.headers = "allow: " + allow + "\r\n";
  return reply;
}

Error bad_name(const Exchange& exchange) {
  return Error{std::string(error::kNotFound),
               "`" + exchange.name.substr(0, 80) +
                   "` is no function's name: 1 to 63 of a-z, 0-9 and -, with a letter or digit at "
                   "both ends.",
               "name"};
}

// A route that takes forms takes them from programs and from this server's own pages.
Result<void> check_own_page(const Exchange& exchange) {
  const std::string_view site = exchange.header("sec-fetch-site");
  const bool from_browser = !site.empty() || !exchange.header("origin").empty();
  if (!from_browser || site == "same-origin" || site == "none") return {};
  return Error{std::string(error::kForbidden),
               "A page of another site may not send files here; use a program, such as curl.", ""};
}

// A page of another site can make its visitor's browser post a form to this machine unasked; with
// JSON the browser asks first, and nothing here says yes. So a form is refused where it can come
// from a browser, which names its Origin. curl -d sends a form's type too, with JSON inside and no
// Origin.
Result<void> check_media_type(const Exchange& exchange, const Route& route) {
  if (exchange.method != "POST") return {};
  if (route.body == Body::Streamed) return check_own_page(exchange);
  std::string_view type = exchange.header("content-type");
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  const bool from_browser =
      !exchange.header("origin").empty() || !exchange.header("sec-fetch-site").empty();
  if (boost::beast::iequals(type, "application/json") || type.ends_with("+json")) return {};
  const bool plain =
      type.empty() || boost::beast::iequals(type, "application/x-www-form-urlencoded");
  if (plain && !from_browser) return {};
  return Error{std::string(error::kUnsupportedMediaType),
               type.empty() ? "The request has no content-type; send application/json."
                            : "The body's type is " + std::string(type.substr(0, 80)) +
                                  "; send application/json.",
               ""};
}

// Every listener is on loopback: there are no keys that could guard another one.
Result<void> check_host(const Exchange& exchange) {
  const std::string_view host = exchange.header("host");
  if (is_local_host(host)) return {};
  return Error{std::string(error::kForbidden),
               "This server answers to localhost and to addresses, and the request's Host is `" +
                   std::string(host.substr(0, 80)) +
                   "`; a proxy in front of it must send Host: localhost.",
               ""};
}

}  // namespace

Coroutine<> run_pipeline(Exchange& exchange) {
  exchange.anthropic = exchange.path.starts_with("/v1/messages");
  if (Result<void> host = check_host(exchange); !host) {
    co_await exchange.send(exchange.error_reply(host.error()));
    co_return;
  }
  RouteMatch match = find_route(exchange.method, exchange.path, exchange.side);
  Reply reply;
  if (!match.route && match.allow.empty()) {
    reply = unknown_route(exchange);
  } else if (!match.route) {
    reply = exchange.method == "OPTIONS" ? options_reply(match.allow)
                                         : wrong_method(exchange, match.allow);
  } else {
    exchange.name = std::move(match.name);
    exchange.item = std::move(match.item);
    const bool about_function = match.route->pattern.starts_with("/v1/functions/");
    if (about_function && !is_function_name(exchange.name)) {
      reply = exchange.error_reply(bad_name(exchange));
    } else if (Result<void> type = check_media_type(exchange, *match.route); !type) {
      reply = exchange.error_reply(type.error());
    } else if (match.route->run) {
      co_await match.route->run(exchange);
      co_return;
    } else {
      reply = match.route->answer(exchange);
    }
  }
  co_await exchange.send(std::move(reply));
}

}  // namespace glowplug::gateway
