// The model cache over HTTP: what is held in which tier, pins, eviction, verification.
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "gateway/awaited.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

json::value milliseconds(const std::optional<WallTime>& time) {
  return time ? json::value(time->time_since_epoch().count()) : json::value(nullptr);
}

std::uint64_t measured(const GatewayOptions& options, domain::ProcessId process,
                       std::uint64_t reserved) {
  const std::uint64_t bytes = options.memory_of ? options.memory_of(process) : 0;
  return bytes != 0 ? bytes : reserved;
}

// What runs from each model file: templates with their spares, and replicas.
struct Running {
  std::set<domain::ProcessId> templates;
  std::uint64_t template_bytes = 0;
  int replicas = 0;
};

std::map<std::string, Running> running_by_digest(const Server& server) {
  std::map<std::string, Running> found;
  server.platform.each_function([&](const control::FunctionView& view) {
    if (view.facts.sha256.empty()) return;
    Running& running = found[view.facts.sha256];
    running.replicas += static_cast<int>(view.replicas.size());
    if (!view.template_view) return;
    const control::TemplateView& held = *view.template_view;
    if (!running.templates.insert(held.process).second) return;  // shared: counted once
    running.template_bytes += measured(server.options, held.process, held.memory_bytes);
    for (const control::TemplateView::Spare& spare : held.spares)
      running.template_bytes += measured(server.options, spare.process, spare.memory_bytes);
  });
  return found;
}

json::object blob_object(const control::BlobView& blob, const Running& running) {
  json::array names(blob.names.begin(), blob.names.end());
  json::array functions(blob.functions.begin(), blob.functions.end());
  return {{"sha256", blob.sha256},
          {"names", std::move(names)},
          {"in_cache", blob.in_cache},
          {"bytes", blob.bytes},
          {"resident_bytes", blob.resident_bytes},
          {"pinned", blob.pinned},
          {"uses", blob.uses},
          {"last_used_ms", milliseconds(blob.last_used)},
          {"verified_ms", milliseconds(blob.verified)},
          {"functions", std::move(functions)},
          {"templates", running.templates.size()},
          {"template_bytes", running.template_bytes},
          {"replicas", running.replicas}};
}

json::value prompts_object(const std::optional<control::PromptCopies>& copies) {
  if (!copies) return nullptr;
  return json::object{{"copies", copies->count},
                      {"bytes", copies->bytes},
                      {"budget_bytes", copies->budget_bytes},
                      {"memory_bytes", copies->memory_bytes}};
}

json::object cache_object(const control::CacheView& view, const Server& server) {
  const auto running = running_by_digest(server);
  json::array data;
  std::uint64_t resident = 0, template_bytes = 0;
  for (const control::BlobView& blob : view.blobs) {
    const auto found = running.find(blob.sha256);
    const Running runs = found == running.end() ? Running{} : found->second;
    data.emplace_back(blob_object(blob, runs));
    resident += blob.resident_bytes;
  }
  for (const auto& [sha256, runs] : running) template_bytes += runs.template_bytes;
  const control::CacheCounters counters = server.options.cache->counters();
  return {
      {"object", "list"},
      {"data", std::move(data)},
      {"disk", json::object{{"bytes", view.disk_bytes},
                            {"budget_bytes", view.disk_budget == 0 ? json::value(nullptr)
                                                                   : json::value(view.disk_budget)},
                            {"free_bytes", view.disk_free},
                            {"free_bytes_min", view.disk_free_min},
                            {"quarantined_bytes", view.quarantined_bytes}}},
      {"memory", json::object{{"resident_bytes", resident}, {"machine_bytes", view.memory_bytes}}},
      {"template", json::object{{"bytes", template_bytes}, {"budget_bytes", view.template_budget}}},
      {"prompts", prompts_object(counters.prompts)},
      {"verified", counters.verified},
      {"damaged", counters.damaged},
      {"evicted", counters.evicted},
      {"refused", counters.refused}};
}

bool is_digest(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Replies are built apart from co_await: GCC 12 destroys temporaries of such an expression twice.
Reply nothing_there(const Exchange& exchange, std::string message) {
  return exchange.error_reply(
      Error{std::string(domain::error::kNotFound), std::move(message), "digest"});
}

Coroutine<> act(Exchange& exchange, control::CacheAction action, Reply done) {
  control::CacheAdmin* cache = exchange.server.options.cache;
  if (cache == nullptr || !is_digest(exchange.name)) {
    Reply refused = nothing_there(
        exchange, "The path names no model file by its SHA-256; GET /v1/admin/cache lists them.");
    co_await exchange.send(std::move(refused));
    co_return;
  }
  const auto outcome = std::make_shared<Awaited<Result<void>>>(exchange.server.io);
  cache->act(action, exchange.name,
             [outcome](Result<void> result) { outcome->give(std::move(result)); });
  co_await wait_for(outcome);
  if (!*outcome->value) done = exchange.error_reply(outcome->value->error());
  co_await exchange.send(std::move(done));
}

Reply blob_reply(const Exchange& exchange, int status, std::string_view what) {
  return json_reply(status,
                    json::serialize(json::object{{"sha256", exchange.name}, {"status", what}}));
}

}  // namespace

Coroutine<> run_cache(Exchange& exchange) {
  control::CacheAdmin* cache = exchange.server.options.cache;
  if (cache == nullptr) {
    Reply refused = nothing_there(exchange, "This server keeps no model cache.");
    co_await exchange.send(std::move(refused));
    co_return;
  }
  const auto view = std::make_shared<Awaited<control::CacheView>>(exchange.server.io);
  cache->look([view](control::CacheView found) { view->give(std::move(found)); });
  co_await wait_for(view);
  Reply reply = json_reply(200, json::serialize(cache_object(*view->value, exchange.server)));
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_cache_pin(Exchange& exchange) {
  return act(exchange, control::CacheAction::Pin, blob_reply(exchange, 200, "pinned"));
}

Coroutine<> run_cache_unpin(Exchange& exchange) {
  return act(exchange, control::CacheAction::Unpin, blob_reply(exchange, 200, "unpinned"));
}

Coroutine<> run_cache_verify(Exchange& exchange) {
  return act(exchange, control::CacheAction::Verify, blob_reply(exchange, 202, "verifying"));
}

Coroutine<> run_cache_evict(Exchange& exchange) {
  Reply none;
  none.status = 204;
  return act(exchange, control::CacheAction::Evict, std::move(none));
}

}  // namespace glowplug::gateway
