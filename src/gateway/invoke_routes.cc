#include "gateway/invoke_routes.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "gateway/call_notes.h"
#include "gateway/client_caller.h"
#include "gateway/job_answers.h"
#include "gateway/json_text.h"
#include "gateway/receipts.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
namespace error = domain::error;

constexpr std::string_view kDefaultFunction = "gpt2";

// The payload under `body` (object or JSON text), or under `data` for a CloudEvent.
Result<void> read_event(std::string_view text, InvokeCall& invoke) {
  Result<json::object> parsed = parse_object(text);
  if (!parsed) return parsed.error();
  const json::object& whole = parsed.value();
  const json::value* payload = field(whole, "body");
  if (!payload && field(whole, "specversion")) payload = field(whole, "data");
  if (!payload) return missing("body", "is required: an object, or the same as JSON text.");
  if (payload->is_object()) {
    invoke.payload = payload->as_object();
    return {};
  }
  if (!payload->is_string()) return invalid("body", "must be an object or JSON text.");
  invoke.form = BodyForm::Text;
  Result<json::object> inner = parse_object(std::string_view(payload->as_string()));
  if (!inner) return Error{inner.error().code, "In `body`: " + inner.error().message, "body"};
  invoke.payload = std::move(inner).value();
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

Reply envelope_error(const CallContext& context, const ErrorAnswer& answer, BodyForm form,
                     int retry_after_s = 0) {
  boost::system::error_code ec;
  Reply reply = envelope(answer.status, json::parse(error_json(answer), ec), form);
  reply.headers = context.error_reply(answer, retry_after_s).headers;
  reply.error = answer.code;
  return reply;
}

Result<std::string> function_of(const std::string& name, const json::object& inner) {
  const json::value* model = field(inner, "model");
  if (model && !model->is_string()) return invalid("model", "must be a string.");
  if (name.empty()) return model ? std::string(model->as_string()) : std::string(kDefaultFunction);
  if (model && std::string_view(model->as_string()) != name) {
    return invalid("model",
                   "names another function than this route's, " + name + "; leave it out.");
  }
  return name;
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

Reply answer_event(const InvokeCall& invoke, const CallResult& result) {
  boost::system::error_code ec;
  const json::value answer = json::parse(result.body, ec);
  std::string text = ec || !answer.is_object() ? std::string() : text_of(answer.as_object());
  const json::value* prompt = field(invoke.payload, "prompt");
  const json::value* full = field(invoke.payload, "return_full_text");
  const bool continuation_alone = full && full->is_bool() && !full->as_bool();
  if (prompt && prompt->is_string() && !field(invoke.payload, "messages") && !continuation_alone) {
    text.insert(0, prompt->as_string().data(), prompt->as_string().size());
  }
  json::object body;
  body["text"] = text;
  body["model"] = invoke.call.function;
  body["usage"] = json::object{{"prompt_tokens", result.usage.prompt_tokens},
                               {"completion_tokens", result.usage.completion_tokens}};
  return envelope(200, std::move(body), invoke.form);
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

bool is_process(const control::CalleeView& callee) {
  return callee.manifest.engine.kind == domain::EngineKind::Process;
}

Result<CallPlan> plan_invoke(const Server& server, const std::string& body,
                             const InvokeCall& invoke, const control::CalleeView& callee,
                             Purpose purpose) {
  if (invoke.process) {
    if (!server.platform.admitting()) {
      return Error{std::string(error::kShuttingDown),
                   "The server is shutting down; try again in a moment.", ""};
    }
    if (auto paid = check_budget(server.options, callee.manifest); !paid) return paid.error();
    CallPlan plan;
    plan.function = callee.manifest.name;
    plan.path = "/invoke";
    if (purpose == Purpose::Call) plan.body = body;
    return plan;
  }
  const json::object& payload = invoke.payload;
  const bool chat = field(payload, "messages") != nullptr;
  if (!chat && !field(payload, "prompt"))
    return missing("prompt", "or messages is required in body.");
  if (const json::value* full = field(payload, "return_full_text"); full && !full->is_bool()) {
    return invalid("return_full_text", "must be true or false.");
  }
  json::object request = inference_request(payload);
  return plan_call(server, chat ? Surface::Chat : Surface::Completions, request, callee,
                   {.streams = Streams::Never, .purpose = purpose});
}

bool is_dry_run(const Exchange& exchange) {
  return boost::beast::iequals(exchange.header("x-invocation-type"), "DryRun");
}

Result<void> check_invocation(const Exchange& exchange) {
  const std::string_view kind = exchange.header("x-invocation-type");
  const bool known = kind.empty() || boost::beast::iequals(kind, "RequestResponse") ||
                     boost::beast::iequals(kind, "Event") || is_dry_run(exchange);
  if (known) return {};
  return unsupported("X-Invocation-Type", "must be RequestResponse, Event or DryRun.");
}

}  // namespace

Result<void> read_invoke(const Server& server, const std::string& name, const std::string& body,
                         Purpose purpose, InvokeCall& invoke) {
  std::string function = name;
  if (!name.empty()) {  // the model is resolved before the fields are looked at
    const auto named = server.platform.callee(name);
    if (!named) return unknown_model(server, name);
    invoke.process = is_process(*named);
  }
  if (invoke.process) {
    if (Result<json::object> any = parse_object(body); !any) return any.error();
  } else {
    if (Result<void> read = read_event(body, invoke); !read) return read.error();
    Result<std::string> meant = function_of(name, invoke.payload);
    if (!meant) return meant.error();
    function = std::move(meant).value();
  }
  const auto callee = is_function_name(function) ? server.platform.callee(function) : std::nullopt;
  if (!callee) return unknown_model(server, function);
  invoke.process = is_process(*callee);
  invoke.call.function = callee->manifest.name;
  invoke.call.context = callee->manifest.context;
  Result<CallPlan> plan = plan_invoke(server, body, invoke, *callee, purpose);
  if (!plan) return plan.error();
  invoke.call.plan = std::move(plan).value();
  return {};
}

Reply refuse_invoke(CallContext& context, const InvokeCall& invoke, const ErrorAnswer& answer) {
  if (!invoke.call.function.empty()) note_refusal(context, invoke.call.function, answer);
  return envelope_error(context, answer, invoke.form);
}

void finish_invoke(const InvokeCall& invoke, CallResult& result) {
  if (!invoke.process) finish_answer(result, invoke.call.function, invoke.call.context);
}

Reply invoke_reply(CallContext& context, const InvokeCall& invoke, CallResult& result) {
  Reply reply;
  if (result.failure) {
    reply = envelope_error(context, *result.failure, invoke.form, result.retry_after_s);
    // A replica was granted and failed: the function's own fault, not the platform's refusal.
    if (!result.headers.empty() && result.failure->status >= 500)
      reply.headers += "x-function-error: true\r\n";
  } else {
    note_first_byte(context, invoke.call.function);
    reply = invoke.process ? process_answer(result) : answer_event(invoke, result);
  }
  reply.headers += header_lines(result);
  return reply;
}

namespace {

// A call with its client on the line. None: the client has left.
Coroutine<std::optional<Reply>> invoke_now(Exchange& exchange, const InvokeCall& invoke,
                                           std::optional<storage::IdempotencyKey> key) {
  KeyedCall keyed(exchange.server);
  std::optional<Reply> known = co_await keyed.begin(exchange, std::move(key));
  if (known) co_return known;
  CallResult result = co_await perform_for_client(exchange, invoke.call.plan);
  finish_invoke(invoke, result);
  note_end(exchange, invoke.call.function, result);
  if (result.caller_gone) co_return std::nullopt;
  Reply reply = invoke_reply(exchange, invoke, result);
  co_await keyed.keep(reply);
  co_return reply;
}

}  // namespace

Coroutine<> run_invoke(Exchange& exchange) {
  exchange.client_request = usable_request_id(exchange.header("x-client-request-id"));
  InvokeCall invoke;
  Result<void> read = check_invocation(exchange);
  Result<CallHeaders> headers = read_call_headers(exchange);
  if (read)
    read = read_invoke(exchange.server, exchange.name, exchange.request.body(), purpose_of(headers),
                       invoke);
  if (!read) headers = read.error();
  const std::string& function = invoke.call.function;
  std::optional<Reply> reply;
  if (!headers) {
    reply = refuse_invoke(exchange, invoke, to_answer(headers.error()));
  } else if (is_dry_run(exchange)) {
    exchange.open->end(function, CallFate::Answered, call_reason::kDryRun);
    reply = json_reply(204, "");
  } else if (headers->preference.wants_job()) {
    queue::Submission submission = submission_of(exchange, function, *headers);
    reply = co_await answer_job(exchange, std::move(submission), headers->preference);
  } else {
    reply = co_await invoke_now(exchange, invoke, std::move(headers->key));
  }
  if (reply) co_await exchange.send(std::move(*reply));
}

}  // namespace glowplug::gateway
