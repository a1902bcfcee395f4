#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "gateway/batch_metrics.h"
#include "gateway/function_json.h"
#include "gateway/inference_routes.h"
#include "gateway/job_metrics.h"
#include "gateway/json_text.h"
#include "gateway/receipts.h"
#include "gateway/routes.h"

namespace glowplug::gateway {

namespace json = boost::json;

Reply answer_health(Exchange&) { return json_reply(200, R"({"status":"ok"})"); }

Reply answer_ready(Exchange& exchange) {
  if (exchange.server.platform.admitting()) return json_reply(200, R"({"status":"ready"})");
  Reply reply = exchange.error_reply(
      Error{"shutting_down", "The server is draining and takes no new calls.", ""}, 1);
  return reply;
}

Reply answer_metrics(Exchange& exchange) {
  std::optional<control::CacheCounters> cache;
  if (exchange.server.options.cache != nullptr) cache = exchange.server.options.cache->counters();
  const bool open = exchange.header("accept").find("openmetrics-text") != std::string_view::npos;
  Reply reply;
  reply.body = exchange.server.metrics.render(
      exchange.server.platform.functions(), exchange.server.clients.size(),
      open ? MetricsFormat::OpenMetrics : MetricsFormat::PrometheusText, cache,
      exchange.server.options.memory_of, exchange.server.platform.process_counts(),
      [&exchange](MetricsText& text) {
        const GatewayOptions& options = exchange.server.options;
        if (options.usage != nullptr)
          write_usage(text, *options.usage, exchange.server.clock.wall_now());
        if (options.jobs != nullptr) write_job_metrics(text, *options.jobs);
        if (options.files != nullptr) write_file_store(text, *options.files);
        if (options.batches != nullptr) write_batches(text, *options.batches);
        if (options.webhooks != nullptr) write_webhooks(text, options.webhooks->counts());
      });
  reply.content_type = open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                            : "text/plain; version=0.0.4; charset=utf-8";
  return reply;
}

Reply answer_version(Exchange& exchange) {
  json::object object;
  object["version"] = exchange.server.options.version;
  object["engine_commit"] = exchange.server.options.engine_commit;
  return json_reply(200, json::serialize(object));
}

Reply answer_openapi(Exchange& exchange) {
  Reply reply;
  reply.body = exchange.server.options.openapi_yaml;
  reply.content_type = "application/yaml";
  return reply;
}

Reply answer_models(Exchange& exchange) {
  ListText list;
  exchange.server.platform.each_function([&](const control::FunctionView& view) {
    list.add(model_object(view, exchange.server.started_unix));
  });
  return json_reply(200, list.end());
}

Reply answer_model(Exchange& exchange) {
  std::optional<control::FunctionView> view;
  if (is_function_name(exchange.name)) view = exchange.server.platform.function(exchange.name);
  if (!view) return exchange.error_reply(unknown_model(exchange.server, exchange.name));
  return json_reply(200, json::serialize(model_object(*view, exchange.server.started_unix)));
}

Reply answer_decisions(Exchange& exchange) {
  const Time now = exchange.server.clock.now();
  const WallTime wall = exchange.server.clock.wall_now();
  json::array data;
  for (const control::Decision& decision : exchange.server.platform.decisions()) {
    const auto at = wall - std::chrono::duration_cast<std::chrono::milliseconds>(now - decision.at);
    data.emplace_back(json::object{{"at_ms", at.time_since_epoch().count()},
                                   {"function", decision.function},
                                   {"decision", decision.decision},
                                   {"reason", decision.reason}});
  }
  return json_reply(200, json::serialize(json::object{{"data", std::move(data)}}));
}

}  // namespace glowplug::gateway
