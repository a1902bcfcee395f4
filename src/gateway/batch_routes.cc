// /v1/batches: what a batch is asked for, and how one looks. What it does is queue/batch_service's.
#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/awaited.h"
#include "gateway/job_answers.h"
#include "gateway/json_text.h"
#include "gateway/list_page.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"
#include "queue/batch_service.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using queue::BatchRecord;
using queue::BatchState;

constexpr std::string_view kWindow = "24h";

std::int64_t whole_seconds(Duration time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value usage_value(const std::optional<queue::BatchUsage>& usage) {
  if (!usage) return nullptr;
  return json::object{
      {"input_tokens", usage->prompt_tokens},
      {"input_tokens_details", json::object{{"cached_tokens", usage->cached_tokens}}},
      {"output_tokens", usage->completion_tokens},
      {"output_tokens_details", json::object{{"reasoning_tokens", 0}}},
      {"total_tokens", usage->prompt_tokens + usage->completion_tokens}};
}

json::value faults_value(const std::vector<queue::BatchFault>& faults) {
  if (faults.empty()) return nullptr;
  json::array data;
  for (const queue::BatchFault& fault : faults)
    data.emplace_back(
        json::object{{"code", fault.code},
                     {"message", fault.message},
                     {"param", or_null(fault.param)},
                     {"line", fault.line == 0 ? json::value(nullptr) : json::value(fault.line)}});
  return json::object{{"object", "list"}, {"data", std::move(data)}};
}

json::value metadata_value(const std::string& text) {
  boost::system::error_code ec;
  json::value metadata = json::parse(text, ec);
  if (ec || !metadata.is_object() || metadata.get_object().empty()) return nullptr;
  return metadata;
}

json::object batch_object(const BatchRecord& batch) {
  json::object object{
      {"id", queue::batch_id(batch.id)},
      {"object", "batch"},
      {"endpoint", batch.endpoint},
      {"errors", faults_value(batch.faults)},
      {"input_file_id", batch.input_file},
      {"completion_window", kWindow},
      {"status", queue::to_string(batch.state)},
      {"output_file_id", or_null(batch.output_file)},
      {"error_file_id", or_null(batch.error_file)},
      {"created_at", unix_seconds(batch.created)},
      {"expires_at", unix_seconds(batch.created) + whole_seconds(domain::kBatchWindow)},
      {"request_counts",
       json::object{{"total", batch.total}, {"completed", batch.done}, {"failed", batch.failed}}},
      {"usage", usage_value(batch.usage)},
      {"metadata", metadata_value(batch.metadata)}};
  for (const BatchState state :
       {BatchState::InProgress, BatchState::Finalizing, BatchState::Completed, BatchState::Failed,
        BatchState::Expired, BatchState::Cancelling, BatchState::Cancelled}) {
    const std::optional<WallTime>& at = batch.at[static_cast<std::size_t>(state)];
    object[fmt::format("{}_at", queue::to_string(state))] =
        at ? json::value(unix_seconds(*at)) : json::value(nullptr);
  }
  return object;
}

Result<std::string> text_field(const json::object& body, std::string_view name,
                               const std::string& what) {
  const json::value* value = field(body, name);
  if (value == nullptr) return missing(name, "is required: " + what);
  if (!value->is_string()) return invalid(name, "must be a string: " + what);
  return std::string(value->get_string().data(), value->get_string().size());
}

Result<std::string> metadata_text(const json::object& body) {
  const json::value* value = field(body, "metadata");
  if (value == nullptr) return std::string("{}");
  if (!value->is_object()) return invalid("metadata", "must be an object of strings.");
  const json::object& metadata = value->get_object();
  if (metadata.size() > domain::kMetadataMax)
    return invalid("metadata", fmt::format("may have {} keys.", domain::kMetadataMax));
  for (const auto& member : metadata) {
    if (member.key().empty() || member.key().size() > domain::kMetadataKeyBytesMax)
      return invalid("metadata", fmt::format("has a key that is not 1 to {} bytes long.",
                                             domain::kMetadataKeyBytesMax));
    if (!member.value().is_string() ||
        member.value().get_string().size() > domain::kMetadataValueBytesMax)
      return invalid("metadata",
                     fmt::format("has, under `{}`, no string of at most {} bytes.",
                                 std::string_view(member.key().data(), member.key().size()),
                                 domain::kMetadataValueBytesMax));
  }
  return std::string(json::serialize(metadata));
}

Result<std::optional<Duration>> output_expiry(const json::object& body) {
  const json::value* value = field(body, "output_expires_after");
  if (value == nullptr) return std::optional<Duration>();
  if (!value->is_object())
    return invalid("output_expires_after", "must be an object with anchor and seconds.");
  const json::object& wish = value->get_object();
  const json::value* anchor = field(wish, "anchor");
  if (anchor == nullptr || !anchor->is_string() || anchor->get_string() != "created_at")
    return invalid("output_expires_after.anchor", "must be created_at.");
  const std::int64_t low = whole_seconds(domain::kFileExpiryMin);
  const std::int64_t high = whole_seconds(domain::kFileExpiryMax);
  const std::optional<long> seconds = integer(wish, "seconds");
  if (!seconds || *seconds < low || *seconds > high)
    return invalid("output_expires_after.seconds",
                   fmt::format("must be a whole number from {} to {}.", low, high));
  return std::optional<Duration>(std::chrono::seconds(*seconds));
}

Result<queue::BatchWish> read_wish(const std::string& text) {
  Result<json::object> body = parse_object(text);
  if (!body) return body.error();
  for (const auto& member : *body) {
    const Result<void> known = check_known(
        member.key(),
        {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"});
    if (!known) return known.error();
  }
  Result<std::string> input =
      text_field(*body, "input_file_id", "a file that was uploaded with the purpose batch.");
  if (!input) return input.error();
  Result<std::string> endpoint =
      text_field(*body, "endpoint", "one of " + queue::batch_endpoints() + ".");
  if (!endpoint) return endpoint.error();
  if (!queue::is_batch_endpoint(*endpoint))
    return invalid("endpoint", "must be one of " + queue::batch_endpoints() + ".");
  const Result<std::string> window = text_field(*body, "completion_window", "24h.");
  if (!window) return window.error();
  if (*window != kWindow) return invalid("completion_window", "must be 24h.");
  Result<std::string> metadata = metadata_text(*body);
  if (!metadata) return metadata.error();
  const Result<std::optional<Duration>> expiry = output_expiry(*body);
  if (!expiry) return expiry.error();
  return queue::BatchWish{.endpoint = std::move(*endpoint),
                          .input_file = std::move(*input),
                          .metadata = std::move(*metadata),
                          .output_expires = *expiry};
}

Reply no_batch(const Exchange& exchange) {
  return exchange.error_reply(Error{std::string(domain::error::kNotFound),
                                    "There is no batch `" + exchange.name.substr(0, 80) + "`.",
                                    "id"});
}

std::optional<BatchRecord> batch_of(const Exchange& exchange) {
  const queue::BatchService* batches = exchange.server.options.batches;
  const std::optional<std::int64_t> id = queue::parse_batch_id(exchange.name);
  return batches != nullptr && id ? batches->find(*id) : std::nullopt;
}

using Outcome = Awaited<Result<BatchRecord>>;

Reply reply_of(const Exchange& exchange, const Outcome& outcome) {
  if (!*outcome.value) return exchange.error_reply(outcome.value->error(), 1);
  return json_reply(200, json::serialize(batch_object(**outcome.value)));
}

// Its key is on the disk with the batch, or neither is.
void keep_with(queue::BatchWish& wish, const storage::IdempotencyKey& key) {
  wish.with = [key](storage::Database& database, const BatchRecord& batch, Time now) {
    return storage::keep_key(database, key,
                             {.status = 200,
                              .body = json::serialize(batch_object(batch)),
                              .content_type = "application/json"},
                             now);
  };
}

Coroutine<Reply> create_batch(Exchange& exchange, queue::BatchWish wish) {
  const auto made = std::make_shared<Outcome>(exchange.server.io);
  exchange.server.options.batches->create(
      std::move(wish), [made](Result<BatchRecord> record) { made->give(std::move(record)); });
  co_await wait_for(made);
  co_return reply_of(exchange, *made);
}

}  // namespace

Coroutine<> run_create_batch(Exchange& exchange) {
  Result<queue::BatchWish> wish = read_wish(exchange.request.body());
  if (wish && exchange.server.options.batches == nullptr)
    wish = Error{std::string(domain::error::kNotFound), "This server runs no batches.", ""};
  const auto key =
      read_key(exchange.header("idempotency-key"), exchange.path, exchange.request.body());
  if (!wish || !key) {
    Reply refused = exchange.error_reply(wish ? key.error() : wish.error());
    co_await exchange.send(std::move(refused));
    co_return;
  }
  KeyedCall keyed(exchange.server);
  std::optional<Reply> reply = co_await keyed.begin(exchange, *key);
  if (!reply) {
    if (*key) keep_with(*wish, **key);
    wish->traceparent = usable_traceparent(exchange.header("traceparent"));
    reply = co_await create_batch(exchange, std::move(*wish));
  }
  co_await exchange.send(std::move(*reply));
}

Coroutine<> run_cancel_batch(Exchange& exchange) {
  const std::optional<BatchRecord> batch = batch_of(exchange);
  if (!batch) {
    Reply refused = no_batch(exchange);
    co_await exchange.send(std::move(refused));
    co_return;
  }
  const auto cancelled = std::make_shared<Outcome>(exchange.server.io);
  exchange.server.options.batches->cancel(
      batch->id, [cancelled](Result<BatchRecord> record) { cancelled->give(std::move(record)); });
  co_await wait_for(cancelled);
  Reply reply = reply_of(exchange, *cancelled);
  co_await exchange.send(std::move(reply));
}

Reply get_batch(Exchange& exchange) {
  const std::optional<BatchRecord> batch = batch_of(exchange);
  if (!batch) return no_batch(exchange);
  return json_reply(200, json::serialize(batch_object(*batch)));
}

Reply get_batches(Exchange& exchange) {
  const Result<PageWish> wish = read_page(exchange, {20, 100});
  if (!wish) return exchange.error_reply(wish.error());
  const queue::BatchService* batches = exchange.server.options.batches;
  std::vector<BatchRecord> all = batches ? batches->list() : std::vector<BatchRecord>();
  if (wish->ascending) std::reverse(all.begin(), all.end());
  return page_reply(
      exchange, all, *wish, [](const BatchRecord& batch) { return queue::batch_id(batch.id); },
      batch_object);
}

}  // namespace glowplug::gateway
