#include "gateway/inference_routes.h"

#include "domain/errors.h"
#include "gateway/call_notes.h"
#include "gateway/client_caller.h"
#include "gateway/job_answers.h"
#include "gateway/json_text.h"
#include "gateway/prompt_links.h"
#include "gateway/receipts.h"
#include "gateway/request_fields.h"
#include "gateway/response_routes.h"
#include "gateway/routes.h"
#include "gateway/tool_request.h"

namespace glowplug::gateway {

namespace error = domain::error;

Error unknown_model(const Server& server, const std::string& model) {
  std::string message =
      "The model `" + model.substr(0, 200) + "` does not exist or you do not have access to it.";
  if (server.options.in_catalogue && is_function_name(model) &&
      server.options.in_catalogue(model)) {
    message.pop_back();
    message += "; deploy it with: glowplug deploy " + model;
  }
  return Error{std::string(error::kModelNotFound), std::move(message), "model"};
}

void finish_answer(CallResult& result, const std::string& function, int context) {
  if (result.failure || result.streamed || result.caller_gone) return;
  if (result.status == 200) {
    result.body = rewrite_answer(result.body, function, result.usage);
    take_engine_times(result.phases, result.usage);
  } else {
    result.failure = from_engine(result.status, result.body, context);
  }
}

Result<CallPlan> plan_call(const Server& server, Surface surface, boost::json::object& request,
                           const control::CalleeView& callee, Reading how) {
  const domain::Manifest& manifest = callee.manifest;
  Result<RequestShape> shape = check_request(surface, request, manifest);
  if (!shape) return shape.error();
  if (shape->uses_tools) {
    if (Result<void> tools = check_tool_template(manifest, callee.facts); !tools)
      return tools.error();
  }
  if (!server.platform.admitting()) {
    return Error{std::string(error::kShuttingDown),
                 "The server is shutting down; try again in a moment.", ""};
  }
  if (auto paid = check_budget(server.options, manifest); !paid) return paid.error();
  CallPlan plan;
  plan.function = manifest.name;
  plan.path = std::string(path_of(surface));
  plan.surface = surface;
  plan.shape = shape.value();
  if (how.streams == Streams::Never) {
    request.erase("stream");
    request.erase("stream_options");
    plan.shape.stream = plan.shape.include_usage = false;
  }
  if (how.purpose == Purpose::Check || plan.shape.background) return plan;  // it is read again
  const bool keeps_it = surface == Surface::Chat || surface == Surface::Completions ||
                        surface == Surface::Responses || surface == Surface::Messages;
  if (keeps_it && manifest.scale.max > 1) plan.prompt = prompt_links(request);
  plan.body = forward_body(surface, request, manifest, plan.shape);
  return plan;
}

Result<void> read_inference(const Server& server, Surface surface, std::string_view body,
                            Reading how, ReadCall& call) {
  Result<boost::json::object> request = parse_object(body);
  if (!request) return request.error();
  Result<std::string> model = read_model(request.value());
  if (!model) return model.error();
  if (!is_function_name(model.value())) return unknown_model(server, model.value());
  const std::optional<control::CalleeView> callee = server.platform.callee(model.value());
  if (!callee) return unknown_model(server, model.value());
  call.function = callee->manifest.name;
  call.context = callee->manifest.context;
  // How it came to be a job is no business of the function's.
  if (how.streams == Streams::Never && surface == Surface::Responses) request->erase("background");
  Result<CallPlan> plan = plan_call(server, surface, request.value(), *callee, how);
  if (!plan) return plan.error();
  call.plan = std::move(plan).value();
  return {};
}

Reply refuse_inference(CallContext& context, const ReadCall& call, const ErrorAnswer& answer) {
  if (!call.function.empty()) note_refusal(context, call.function, answer);
  return context.error_reply(answer, answer.code == error::kShuttingDown ? 1 : 0);
}

Reply inference_reply(CallContext& context, const ReadCall& call, CallResult& result) {
  Reply reply;
  if (result.failure) {
    reply = context.error_reply(*result.failure, result.retry_after_s);
  } else {
    reply = json_reply(result.status, std::move(result.body));
    note_first_byte(context, call.function);
  }
  reply.headers += header_lines(result);
  return reply;
}

namespace {

bool may_be_job(Surface surface) {
  return surface != Surface::InputTokens && surface != Surface::CountTokens;
}

// A job's answer comes as a whole.
Result<void> check_stream(const RequestShape& shape, const Result<CallHeaders>& headers) {
  if (headers && headers->preference.wants_job() && shape.stream && !shape.background)
    return unsupported("stream", "must be left out, or Prefer: a job's answer comes as a whole.");
  return {};
}

// A call with its client on the line.
Coroutine<> infer_now(Exchange& exchange, const ReadCall& call,
                      std::optional<storage::IdempotencyKey> key) {
  KeyedCall keyed(exchange.server);
  std::optional<Reply> known = co_await keyed.begin(exchange, std::move(key));
  if (known) {
    co_await exchange.send(std::move(*known));
    co_return;
  }
  CallResult result = co_await perform_for_client(exchange, call.plan);
  finish_answer(result, call.function, call.context);
  note_end(exchange, call.function, result);
  if (result.caller_gone || result.streamed) co_return;
  Reply reply = inference_reply(exchange, call, result);
  co_await keyed.keep(reply);
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_inference(Exchange& exchange, Surface surface) {
  exchange.client_request = usable_request_id(exchange.header("x-client-request-id"));
  ReadCall call;
  Result<CallHeaders> headers = may_be_job(surface) ? read_call_headers(exchange) : CallHeaders();
  Result<void> read = read_inference(exchange.server, surface, exchange.request.body(),
                                     {.purpose = purpose_of(headers)}, call);
  if (read) read = check_stream(call.plan.shape, headers);
  if (!read) headers = read.error();  // the request's faults come before its headers'
  if (!headers) {
    Reply refusal = refuse_inference(exchange, call, to_answer(headers.error()));
    co_await exchange.send(std::move(refusal));
  } else if (call.plan.shape.background) {
    co_await answer_in_background(
        exchange, call.function, *headers,
        call.plan.shape.stream ? ResponseForm::Events : ResponseForm::Object);
  } else if (headers->preference.wants_job()) {
    queue::Submission submission = submission_of(exchange, call.function, *headers);
    std::optional<Reply> reply =
        co_await answer_job(exchange, std::move(submission), headers->preference);
    if (reply) co_await exchange.send(std::move(*reply));
  } else {
    co_await infer_now(exchange, call, std::move(headers->key));
  }
}

}  // namespace

Coroutine<> run_chat(Exchange& exchange) { return run_inference(exchange, Surface::Chat); }
Coroutine<> run_completions(Exchange& exchange) {
  return run_inference(exchange, Surface::Completions);
}
Coroutine<> run_embeddings(Exchange& exchange) {
  return run_inference(exchange, Surface::Embeddings);
}
Coroutine<> run_rerank(Exchange& exchange) { return run_inference(exchange, Surface::Rerank); }
Coroutine<> run_responses(Exchange& exchange) {
  return run_inference(exchange, Surface::Responses);
}
Coroutine<> run_input_tokens(Exchange& exchange) {
  return run_inference(exchange, Surface::InputTokens);
}
Coroutine<> run_messages(Exchange& exchange) { return run_inference(exchange, Surface::Messages); }
Coroutine<> run_count_tokens(Exchange& exchange) {
  return run_inference(exchange, Surface::CountTokens);
}

}  // namespace glowplug::gateway
