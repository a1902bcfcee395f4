#include "gateway/routes.h"

#include <algorithm>

#include <boost/asio/awaitable.hpp>

#include "gateway/invoke_routes.h"

namespace glowplug::gateway {
namespace {

// Inference first: it is what is asked for most. More specific patterns stand before the general
// ones.
constexpr Route kRoutes[] = {
    {"POST", "/v1/chat/completions", nullptr, run_chat, Reach::Main, Infers::Yes},
    {"POST", "/v1/completions", nullptr, run_completions, Reach::Main, Infers::Yes},
    {"POST", "/v1/functions/{name}/invoke", nullptr, run_invoke, Reach::Main, Infers::Yes},
    {"POST", "/v1/invoke", nullptr, run_invoke, Reach::Main, Infers::Yes},
    {"POST", "/v1/embeddings", nullptr, run_embeddings, Reach::Main, Infers::Yes},
    {"POST", "/v1/rerank", nullptr, run_rerank, Reach::Main, Infers::Yes},
    {"POST", "/v1/messages", nullptr, run_messages, Reach::Main, Infers::Yes},
    {"POST", "/v1/messages/count_tokens", nullptr, run_count_tokens, Reach::Main, Infers::Yes},
    {"POST", "/v1/responses", nullptr, run_responses, Reach::Main, Infers::Yes},
    {"POST", "/v1/responses/input_tokens", nullptr, run_input_tokens, Reach::Main, Infers::Yes},
    {"GET", "/v1/responses/{name}", nullptr, run_response, Reach::Main},
    {"DELETE", "/v1/responses/{name}", nullptr, run_delete_response, Reach::Main},
    {"POST", "/v1/responses/{name}/cancel", nullptr, run_cancel_response, Reach::Main},
    {"GET", "/v1/responses/{name}/input_items", nullptr, run_input_items, Reach::Main},
    {"POST", "/v1/jobs", nullptr, run_submit, Reach::Main},
    {"GET", "/v1/jobs", nullptr, run_jobs, Reach::Main},
    {"GET", "/v1/jobs/{name}", nullptr, run_job, Reach::Main},
    {"DELETE", "/v1/jobs/{name}", nullptr, run_delete, Reach::Main},
    {"GET", "/v1/jobs/{name}/stream", nullptr, run_job_stream, Reach::Main},
    {"POST", "/v1/jobs/{name}/cancel", nullptr, run_cancel, Reach::Main},
    {"POST", "/v1/jobs/{name}/retry", nullptr, run_retry, Reach::Main},
    {"GET", "/v1/dead-letters", nullptr, run_dead_letters, Reach::Main},
    {"POST", "/v1/dead-letters/redrive", nullptr, run_redrive, Reach::Main},
    {"GET", "/v1/models", answer_models, nullptr, Reach::Main},
    {"GET", "/v1/models/{name}", answer_model, nullptr, Reach::Main},
    {"GET", "/v1/functions", get_functions},
    {"PUT", "/v1/functions/{name}", put_function},
    {"GET", "/v1/functions/{name}", get_function},
    {"DELETE", "/v1/functions/{name}", delete_function},
    {"POST", "/v1/functions/{name}/warm", warm_function},
    {"POST", "/v1/functions/{name}/preload", preload_function},
    {"POST", "/v1/functions/{name}/stop", stop_function},
    {"POST", "/v1/functions/{name}/tune", nullptr, run_tune},
    {"GET", "/v1/functions/{name}/logs", get_logs},
    {"GET", "/v1/functions/{name}/why/{request}", get_why},
    {"GET", "/v1/functions/{name}/checkpoints", get_checkpoints},
    {"POST", "/v1/functions/{name}/checkpoints", save_checkpoint},
    {"DELETE", "/v1/functions/{name}/checkpoints/{step}", delete_checkpoint},
    {"POST", "/v1/functions/{name}/checkpoints/{step}/activate", activate_checkpoint},
    {"PUT", "/v1/functions/{name}/traffic", put_traffic},
    {"POST", "/v1/functions/{name}/rollback", roll_back},
    {"GET", "/v1/functions/{name}/events", nullptr, run_events},
    {"GET", "/v1/webhook-endpoints", nullptr, run_webhook_endpoints},
    {"POST", "/v1/webhook-endpoints", nullptr, run_webhook_add},
    {"POST", "/v1/webhook-endpoints/deliveries/{id}/replay", nullptr, run_webhook_replay},
    {"DELETE", "/v1/webhook-endpoints/{id}", nullptr, run_webhook_remove},
    {"POST", "/v1/webhook-endpoints/{id}/rotate-secret", nullptr, run_webhook_rotate},
    {"POST", "/v1/webhook-endpoints/{id}/enable", nullptr, run_webhook_enable},
    {"POST", "/v1/webhook-endpoints/{id}/test", nullptr, run_webhook_test},
    {"GET", "/v1/webhook-endpoints/{id}/deliveries", nullptr, run_webhook_deliveries},
    {"POST", "/v1/files", nullptr, run_upload, Reach::Main, Infers::No, Body::Streamed},
    {"GET", "/v1/files", get_files, nullptr, Reach::Main},
    {"GET", "/v1/files/{id}", get_file, nullptr, Reach::Main},
    {"DELETE", "/v1/files/{id}", nullptr, run_delete_file, Reach::Main},
    {"GET", "/v1/files/{id}/content", nullptr, run_file_content, Reach::Main},
    {"POST", "/v1/batches", nullptr, run_create_batch, Reach::Main},
    {"GET", "/v1/batches", get_batches, nullptr, Reach::Main},
    {"GET", "/v1/batches/{id}", get_batch, nullptr, Reach::Main},
    {"POST", "/v1/batches/{id}/cancel", nullptr, run_cancel_batch, Reach::Main},
    {"GET", "/v1/admin/decisions", answer_decisions},
    {"GET", "/v1/admin/why/{request}", get_call_why},
    {"GET", "/v1/admin/usage", nullptr, run_usage},
    {"GET", "/v1/admin/usage/{request}", nullptr, run_receipt},
    {"POST", "/v1/admin/cost/estimate", estimate_cost},
    {"GET", "/v1/admin/devices", get_devices},
    {"GET", "/v1/admin/cache", nullptr, run_cache},
    {"DELETE", "/v1/admin/cache/{digest}", nullptr, run_cache_evict},
    {"POST", "/v1/admin/cache/{digest}/pin", nullptr, run_cache_pin},
    {"POST", "/v1/admin/cache/{digest}/unpin", nullptr, run_cache_unpin},
    {"POST", "/v1/admin/cache/{digest}/verify", nullptr, run_cache_verify},
    {"GET", "/healthz", answer_health},
    {"GET", "/readyz", answer_ready},
    {"GET", "/metrics", answer_metrics},
    {"GET", "/version", answer_version},
    {"GET", "/openapi.yaml", answer_openapi},
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Decodes once; what stays odd after that is refused by is_function_name.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                        hex_digit(text[i + 2]) >= 0;
    if (!escape) {
      out += text[i];
      continue;
    }
    out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
    i += 2;
  }
  return out;
}

// Segment by segment; each {…} takes one that is not empty, the first into `match.name`.
bool matches(std::string_view pattern, std::string_view path, RouteMatch& match) {
  std::string_view found[2];
  std::size_t count = 0;
  while (true) {
    const std::string_view wanted = pattern.substr(0, pattern.find('/'));
    const std::string_view segment = path.substr(0, path.find('/'));
    if (wanted.starts_with('{')) {
      GLOWPLUG_ASSERT(count < std::size(found));
      if (segment.empty()) return false;
      found[count++] = segment;
    } else if (wanted != segment) {
      return false;
    }
    const bool ends = wanted.size() == pattern.size();
    if (ends || segment.size() == path.size()) {
      if (!ends || segment.size() != path.size()) return false;
      break;
    }
    pattern.remove_prefix(wanted.size() + 1);
    path.remove_prefix(segment.size() + 1);
  }
  match.name = percent_decoded(found[0]);
  match.item = percent_decoded(found[1]);
  return true;
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

RouteMatch find_route(std::string_view method, std::string_view path, Side side) {
  RouteMatch match;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : kRoutes) {
    if (side == Side::Admin && route.reach == Reach::Main) continue;
    if (!matches(route.pattern, path, match)) continue;
    if (route.method == wanted) {
      match.route = &route;
      return match;
    }
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += route.method;
    if (route.method == "GET") match.allow += ", HEAD";
  }
  if (!match.allow.empty()) match.allow += ", OPTIONS";
  return match;
}

bool is_function_name(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > 63 || !plain(name.front()) || !plain(name.back())) return false;
  return std::all_of(name.begin(), name.end(), [&plain](char c) { return plain(c) || c == '-'; });
}

}  // namespace glowplug::gateway
