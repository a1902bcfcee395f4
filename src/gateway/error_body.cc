#include "gateway/error_body.h"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
namespace error = domain::error;

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

std::string_view anthropic_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 529: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

ErrorAnswer context_exceeded(int context, const std::string& engine_says) {
  return to_answer(Error{std::string(error::kContextLengthExceeded),
                         "This model's maximum context length is " + std::to_string(context) +
                             " tokens, and the request needs more (" + engine_says +
                             "). Shorten the prompt or raise context in the manifest.",
                         "messages"});
}

}  // namespace

ErrorAnswer to_answer(const Error& error) {
  const domain::ErrorKind kind = domain::error_kind(error.code);
  return ErrorAnswer{
      kind.status, std::string(kind.type), std::string(kind.code), error.message, error.param,
      kind.retry};
}

std::string error_json(const ErrorAnswer& answer) {
  json::object inner;
  inner["message"] = answer.message;
  inner["type"] = answer.type;
  inner["param"] = text_or_null(answer.param);
  inner["code"] = text_or_null(answer.code);
  json::object outer;
  outer["error"] = std::move(inner);
  return json::serialize(outer);
}

int anthropic_status(const ErrorAnswer& answer) {
  const bool overload = answer.code == error::kQueueFull ||
                        answer.code == error::kServerIsOverloaded ||
                        answer.code == error::kShuttingDown;
  return overload ? 529 : answer.status;
}

std::string anthropic_error_json(const ErrorAnswer& answer, std::string_view request_id) {
  json::object inner;
  inner["type"] = anthropic_type(anthropic_status(answer));
  inner["message"] = answer.message;
  json::object outer;
  outer["type"] = "error";
  outer["error"] = std::move(inner);
  outer["request_id"] = request_id;
  return json::serialize(outer);
}

ErrorAnswer from_engine(int status, std::string_view body, int context) {
  std::string message;
  std::string type;
  std::string code;
  boost::system::error_code ec;
  const json::value parsed = json::parse(body, ec);
  if (!ec && parsed.is_object()) {
    const json::value* inner = parsed.as_object().if_contains("error");
    if (inner && inner->is_string()) message = inner->as_string().c_str();
    if (inner && inner->is_object()) {
      const json::object& object = inner->as_object();
      if (const auto* v = object.if_contains("message"); v && v->is_string())
        message = v->as_string().c_str();
      if (const auto* v = object.if_contains("type"); v && v->is_string())
        type = v->as_string().c_str();
      if (const auto* v = object.if_contains("code"); v && v->is_string())
        code = v->as_string().c_str();
    }
  }
  if (message.empty()) message = "The replica answered with status " + std::to_string(status) + ".";
  if (type == "exceed_context_size_error" || code == "exceed_context_size_error" ||
      code == error::kContextLengthExceeded) {
    return context_exceeded(context, message);
  }
  if (status < 400 || status > 599) status = 502;
  if (status >= 500) {
    ErrorAnswer answer = to_answer(Error{std::string(error::kReplicaFailed), message, ""});
    answer.status = status;
    return answer;
  }
  const std::string_view own = status == 404 ? error::kNotFound : error::kInvalidValue;
  return ErrorAnswer{
      status, "invalid_request_error", code.empty() ? std::string(own) : code, message, "", false};
}

}  // namespace glowplug::gateway
