#include "gateway/inference_routes.h"

#include "domain/errors.h"
#include "gateway/call_notes.h"
#include "gateway/inference_call.h"
#include "gateway/json_text.h"
#include "gateway/prompt_links.h"
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
  if (result.failure || result.streamed || result.client_gone) return;
  if (result.status == 200) {
    result.body = rewrite_answer(result.body, function, result.usage);
    take_engine_times(result.phases, result.usage);
  } else {
    result.failure = from_engine(result.status, result.body, context);
  }
}

Result<CallPlan> plan_call(Exchange& exchange, Surface surface, const boost::json::object& request,
                           const control::FunctionView& view) {
  Result<RequestShape> shape = check_request(surface, request, view.manifest);
  if (!shape) return shape.error();
  if (shape->uses_tools) {
    if (Result<void> tools = check_tool_template(view.manifest, view.facts); !tools)
      return tools.error();
  }
  if (!exchange.server.platform.admitting()) {
    return Error{std::string(error::kShuttingDown),
                 "The server is shutting down; try again in a moment.", ""};
  }
  CallPlan plan;
  plan.function = view.manifest.name;
  plan.path = std::string(path_of(surface));
  plan.surface = surface;
  plan.shape = shape.value();
  const bool keeps_it = surface == Surface::Chat || surface == Surface::Completions ||
                        surface == Surface::Responses || surface == Surface::Messages;
  if (keeps_it && view.manifest.scale.max > 1) plan.prompt = prompt_links(request);
  plan.body = forward_body(surface, request, view.manifest, plan.shape);
  return plan;
}

namespace {

struct Prepared {
  CallPlan plan;
  int context = 0;
};

Result<Prepared> prepare(Exchange& exchange, Surface surface, std::string& known_function) {
  Result<boost::json::object> request = parse_object(exchange.request.body());
  if (!request) return request.error();
  Result<std::string> model = read_model(request.value());
  if (!model) return model.error();
  if (!is_function_name(model.value())) return unknown_model(exchange.server, model.value());
  const std::optional<control::FunctionView> view =
      exchange.server.platform.function(model.value());
  if (!view) return unknown_model(exchange.server, model.value());
  known_function = view->manifest.name;
  Result<CallPlan> plan = plan_call(exchange, surface, request.value(), *view);
  if (!plan) return plan.error();
  return Prepared{std::move(plan).value(), view->manifest.context};
}

Coroutine<> run_inference(Exchange& exchange, Surface surface) {
  std::string known_function;
  Result<Prepared> prepared = prepare(exchange, surface, known_function);
  if (!prepared) {
    const ErrorAnswer answer = to_answer(prepared.error());
    if (!known_function.empty()) note_refusal(exchange, known_function, answer);
    Reply reply = exchange.error_reply(answer, answer.code == error::kShuttingDown ? 1 : 0);
    co_await exchange.send(std::move(reply));
    co_return;
  }
  CallResult result = co_await perform(exchange, prepared->plan);
  finish_answer(result, prepared->plan.function, prepared->context);
  co_await deliver(exchange, prepared->plan.function, std::move(result));
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
