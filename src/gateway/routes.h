// The ordered table of routes: what exists, on which listener, and who answers it.
// Thread: a constant table.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "gateway/exchange.h"
#include "gateway/job_routes.h"

namespace glowplug::gateway {

enum class Reach { Main, Both };
// A whole body is held in memory, up to kBodyBytesMax, and is JSON. A streamed one is read by the
// route (Exchange::body), which checks its type too.
enum class Body { Whole, Streamed };
enum class Infers { No, Yes };  // whether it may start a replica; the others never wake a function

struct Route {
  std::string_view method;
  std::string_view pattern;  // what stands in {} is one segment; there are at most two
  Reply (*answer)(Exchange&) = nullptr;
  Coroutine<> (*run)(Exchange&) = nullptr;
  Reach reach = Reach::Both;
  Infers infers = Infers::No;
  Body body = Body::Whole;
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;
  std::string name;
  std::string item;   // what the second {…} stands for
  std::string allow;  // methods of this path; empty when the path is unknown
};

RouteMatch find_route(std::string_view method, std::string_view path, Side side);
bool is_function_name(std::string_view name);

// status_routes.cc
Reply answer_health(Exchange&);
Reply answer_ready(Exchange&);
Reply answer_metrics(Exchange&);
Reply answer_version(Exchange&);
Reply answer_openapi(Exchange&);
Reply answer_models(Exchange&);
Reply answer_model(Exchange&);
Reply answer_decisions(Exchange&);
// why_routes.cc
Reply get_why(Exchange&);       // of a call of this function
Reply get_call_why(Exchange&);  // of any call
// function_routes.cc
Reply no_function(const Exchange&);  // the 404 of a name that is not deployed
Reply put_function(Exchange&);
Reply get_function(Exchange&);
Reply get_functions(Exchange&);
Reply delete_function(Exchange&);
Reply warm_function(Exchange&);
Reply preload_function(Exchange&);
Reply stop_function(Exchange&);
Reply get_logs(Exchange&);
// cache_routes.cc
Coroutine<> run_cache(Exchange&);
Coroutine<> run_cache_pin(Exchange&);
Coroutine<> run_cache_unpin(Exchange&);
Coroutine<> run_cache_verify(Exchange&);
Coroutine<> run_cache_evict(Exchange&);
// checkpoint_routes.cc
Reply get_checkpoints(Exchange&);
Reply save_checkpoint(Exchange&);
Reply delete_checkpoint(Exchange&);
Reply activate_checkpoint(Exchange&);
Reply put_traffic(Exchange&);
Reply roll_back(Exchange&);
// file_routes.cc
Coroutine<> run_upload(Exchange&);
Reply get_files(Exchange&);
Reply get_file(Exchange&);
Coroutine<> run_file_content(Exchange&);
Coroutine<> run_delete_file(Exchange&);
// batch_routes.cc
Coroutine<> run_create_batch(Exchange&);
Reply get_batches(Exchange&);
Reply get_batch(Exchange&);
Coroutine<> run_cancel_batch(Exchange&);
// usage_routes.cc
Coroutine<> run_usage(Exchange&);
Coroutine<> run_receipt(Exchange&);
// cost_route.cc
Reply estimate_cost(Exchange&);
// device_routes.cc
Reply get_devices(Exchange&);
// function_events.cc
Coroutine<> run_events(Exchange&);
// tune_route.cc
Coroutine<> run_tune(Exchange&);
// webhook_routes.cc
Coroutine<> run_webhook_endpoints(Exchange&);
Coroutine<> run_webhook_add(Exchange&);
Coroutine<> run_webhook_remove(Exchange&);
Coroutine<> run_webhook_rotate(Exchange&);
Coroutine<> run_webhook_enable(Exchange&);
Coroutine<> run_webhook_test(Exchange&);
Coroutine<> run_webhook_deliveries(Exchange&);
Coroutine<> run_webhook_replay(Exchange&);
// inference_routes.cc
Coroutine<> run_chat(Exchange&);
Coroutine<> run_completions(Exchange&);
Coroutine<> run_embeddings(Exchange&);
Coroutine<> run_rerank(Exchange&);
Coroutine<> run_responses(Exchange&);
Coroutine<> run_input_tokens(Exchange&);
Coroutine<> run_messages(Exchange&);
Coroutine<> run_count_tokens(Exchange&);

}  // namespace glowplug::gateway
