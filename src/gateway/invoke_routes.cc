#include "gateway/invoke_routes.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "gateway/call_notes.h"
#include "gateway/inference_routes.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
namespace error = domain::error;

enum class BodyForm { Object, Text };

constexpr std::string_view kDefaultFunction = "gpt2";

struct Event {
  json::object whole;
  json::object inner;
  BodyForm form = BodyForm::Object;
};

// The payload under `body` (object or JSON text), or under `data` for a CloudEvent.
Result<void> read_event(std::string_view text, Event& event) {
  Result<json::object> parsed = parse_object(text);
  if (!parsed) return parsed.error();
  event.whole = std::move(parsed).value();
  const json::value* payload = field(event.whole, "body");
  if (!payload && field(event.whole, "specversion")) payload = field(event.whole, "data");
  if (!payload) return missing("body", "is required: an object, or the same as JSON text.");
  if (payload->is_object()) {
    event.inner = payload->as_object();
    return {};
  }
  if (!payload->is_string()) return invalid("body", "must be an object or JSON text.");
  event.form = BodyForm::Text;
  Result<json::object> inner = parse_object(std::string_view(payload->as_string()));
  if (!inner) return Error{inner.error().code, "In `body`: " + inner.error().message, "body"};
  event.inner = std::move(inner).value();
  return {};
}

json::value in_form(json::value body, BodyForm form) {
  if (form == BodyForm::Object) return body;
  return json::value(json::serialize(body));
}

Reply envelope(int status, json::value body, BodyForm form) {
  json::object object;
  object["statusCode"] = status;
  object["headers"] = json::object{{"content-type", "application/json"}};
  object["body"] = in_form(std::move(body), form);
  return json_reply(status, json::serialize(object));
}

Reply envelope_error(const Exchange& exchange, const ErrorAnswer& answer, BodyForm form,
                     int retry_after_s = 0) {
  boost::system::error_code ec;
  Reply reply = envelope(answer.status, json::parse(error_json(answer), ec), form);
  reply.headers = exchange.error_reply(answer, retry_after_s).headers;
  reply.error = answer.code;
  return reply;
}

Result<std::string> function_of(const Exchange& exchange, const json::object& inner) {
  const json::value* model = field(inner, "model");
  if (model && !model->is_string()) return invalid("model", "must be a string.");
  if (exchange.name.empty())
    return model ? std::string(model->as_string()) : std::string(kDefaultFunction);
  if (model && std::string_view(model->as_string()) != exchange.name) {
    return invalid(
        "model", "names another function than this route's, " + exchange.name + "; leave it out.");
  }
  return exchange.name;
}

// The inner payload as an ordinary request, with invoke's own defaults.
json::object inference_request(const json::object& inner) {
  json::object request = inner;
  request.erase("stream");
  request.erase("stream_options");
  request.erase("return_full_text");
  request.erase("n");
  if (!field(request, "max_tokens") && !field(request, "max_completion_tokens"))
    request["max_tokens"] = 256;
  if (!field(request, "temperature")) request["temperature"] = 0.7;
  return request;
}

std::string text_of(const json::object& answer) {
  const json::value* choices = answer.if_contains("choices");
  if (!choices || !choices->is_array() || choices->as_array().empty()) return {};
  const json::value& choice = choices->as_array()[0];
  if (!choice.is_object()) return {};
  if (const json::value* text = choice.as_object().if_contains("text"); text && text->is_string()) {
    return std::string(text->as_string());
  }
  const json::value* message = choice.as_object().if_contains("message");
  if (!message || !message->is_object()) return {};
  const json::value* content = message->as_object().if_contains("content");
  return content && content->is_string() ? std::string(content->as_string()) : std::string();
}

Reply answer_event(const Event& event, const std::string& function, const CallResult& result) {
  boost::system::error_code ec;
  const json::value answer = json::parse(result.body, ec);
  std::string text = ec || !answer.is_object() ? std::string() : text_of(answer.as_object());
  const json::value* prompt = field(event.inner, "prompt");
  const json::value* full = field(event.inner, "return_full_text");
  const bool continuation_alone = full && full->is_bool() && !full->as_bool();
  if (prompt && prompt->is_string() && !field(event.inner, "messages") && !continuation_alone) {
    text.insert(0, prompt->as_string().data(), prompt->as_string().size());
  }
  json::object body;
  body["text"] = text;
  body["model"] = function;
  body["usage"] = json::object{{"prompt_tokens", result.usage.prompt_tokens},
                               {"completion_tokens", result.usage.completion_tokens}};
  return envelope(200, std::move(body), event.form);
}

// A user's own process answers with its envelope; the HTTP status mirrors its statusCode.
Reply process_answer(CallResult& result) {
  boost::system::error_code ec;
  const json::value answer = json::parse(result.body, ec);
  int status = result.status;
  if (!ec && answer.is_object()) {
    const std::optional<long> own = integer(answer.as_object(), "statusCode");
    if (own && *own >= 200 && *own <= 599) status = static_cast<int>(*own);
  }
  Reply reply = json_reply(status, std::move(result.body));
  if (!result.content_type.empty()) reply.content_type = result.content_type;
  if (status >= 500) reply.headers += "x-function-error: true\r\n";
  return reply;
}

Result<CallPlan> plan_invoke(Exchange& exchange, const Event& event,
                             const control::FunctionView& view) {
  if (view.manifest.engine.kind == domain::EngineKind::Process) {
    if (!exchange.server.platform.admitting()) {
      return Error{std::string(error::kShuttingDown),
                   "The server is shutting down; try again in a moment.", ""};
    }
    CallPlan plan;
    plan.function = view.manifest.name;
    plan.path = "/invoke";
    plan.body = exchange.request.body();
    return plan;
  }
  const bool chat = field(event.inner, "messages") != nullptr;
  if (!chat && !field(event.inner, "prompt"))
    return missing("prompt", "or messages is required in body.");
  if (const json::value* full = field(event.inner, "return_full_text"); full && !full->is_bool()) {
    return invalid("return_full_text", "must be true or false.");
  }
  return plan_call(exchange, chat ? Surface::Chat : Surface::Completions,
                   inference_request(event.inner), view);
}

struct PreparedInvoke {
  std::optional<CallPlan> plan;  // none for a dry run
  bool process = false;
  int context = 0;
};

Result<PreparedInvoke> prepare_invoke(Exchange& exchange, Event& event, std::string& known) {
  const std::string_view kind = exchange.header("x-invocation-type");
  if (boost::beast::iequals(kind, "Event") ||
      exchange.header("prefer").find("respond-async") != std::string_view::npos) {
    return unsupported("X-Invocation-Type",
                       "Event: asynchronous calls are not available in this version.");
  }
  if (!kind.empty() && !boost::beast::iequals(kind, "RequestResponse") &&
      !boost::beast::iequals(kind, "DryRun")) {
    return unsupported("X-Invocation-Type", "must be RequestResponse or DryRun.");
  }
  std::optional<control::FunctionView> view;
  if (!exchange.name.empty()) {  // the model is resolved before the fields are looked at
    view = exchange.server.platform.function(exchange.name);
    if (!view) return unknown_model(exchange.server, exchange.name);
  }
  PreparedInvoke prepared;
  prepared.process = view && view->manifest.engine.kind == domain::EngineKind::Process;
  if (prepared.process) {
    if (Result<json::object> any = parse_object(exchange.request.body()); !any) return any.error();
  } else {
    if (Result<void> read = read_event(exchange.request.body(), event); !read) return read.error();
    const Result<std::string> function = function_of(exchange, event.inner);
    if (!function) return function.error();
    if (is_function_name(function.value()))
      view = exchange.server.platform.function(function.value());
    if (!view) return unknown_model(exchange.server, function.value());
    prepared.process = view->manifest.engine.kind == domain::EngineKind::Process;
  }
  known = view->manifest.name;
  prepared.context = view->manifest.context;
  Result<CallPlan> plan = plan_invoke(exchange, event, *view);
  if (!plan) return plan.error();
  if (!boost::beast::iequals(kind, "DryRun")) prepared.plan = std::move(plan).value();
  return prepared;
}

}  // namespace

Coroutine<> run_invoke(Exchange& exchange) {
  Event event;
  std::string known;
  Result<PreparedInvoke> prepared = prepare_invoke(exchange, event, known);
  Reply reply;
  if (!prepared) {
    const ErrorAnswer answer = to_answer(prepared.error());
    if (!known.empty()) note_refusal(exchange, known, answer);
    reply = envelope_error(exchange, answer, event.form);
  } else if (!prepared->plan) {
    exchange.client.call->end(known, CallFate::Answered, call_reason::kDryRun);
    reply = json_reply(204, "");
  } else {
    CallResult result = co_await perform(exchange, *prepared->plan);
    if (!prepared->process) finish_answer(result, known, prepared->context);
    note_end(exchange, known, result);
    if (result.client_gone) co_return;
    if (result.failure) {
      reply = envelope_error(exchange, *result.failure, event.form, result.retry_after_s);
      // A replica was granted and failed: the function's own fault, not the platform's refusal.
      if (!result.headers.empty() && result.failure->status >= 500)
        reply.headers += "x-function-error: true\r\n";
    } else {
      note_first_byte(exchange, known);
      reply = prepared->process ? process_answer(result) : answer_event(event, known, result);
    }
    reply.headers += header_lines(result);
  }
  co_await exchange.send(std::move(reply));
}

}  // namespace glowplug::gateway
