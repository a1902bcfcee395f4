// Webhooks over HTTP: endpoints, their secrets, what became of deliveries. An endpoint's secret is
// in the answers that make it, and in no other.
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.h"
#include "domain/errors.h"
#include "gateway/awaited.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"
#include "queue/webhook_admin.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using queue::WebhookAdmin;
using storage::WebhookDelivery;
using storage::WebhookEndpoint;

constexpr std::string_view kDeliveryPrefix = "whd_";

template <typename T>
using Ask = std::function<void(WebhookAdmin&, WebhookAdmin::Done<T>)>;

Reply no_webhooks(const Exchange& exchange) {
  return exchange.error_reply(
      Error{std::string(domain::error::kNotFound), "This server sends no webhooks.", {}});
}

// Asks, waits, and answers with what `shown` makes of it.
template <typename T, typename Shown>
Coroutine<> answer_with(Exchange& exchange, Ask<T> ask, Shown shown) {
  WebhookAdmin* webhooks = exchange.server.options.webhooks;
  if (webhooks == nullptr) {
    Reply refused = no_webhooks(exchange);
    co_await exchange.send(std::move(refused));
    co_return;
  }
  const auto outcome = std::make_shared<Awaited<Result<T>>>(exchange.server.io);
  ask(*webhooks, [outcome](Result<T> result) { outcome->give(std::move(result)); });
  co_await wait_for(outcome);
  GLOWPLUG_ASSERT(outcome->value.has_value());
  Reply reply =
      *outcome->value ? shown(*outcome->value) : exchange.error_reply(outcome->value->error());
  co_await exchange.send(std::move(reply));
}

Coroutine<> refuse(Exchange& exchange, Error error) {
  Reply reply = exchange.error_reply(error);
  co_await exchange.send(std::move(reply));
}

std::int64_t seconds_until(std::int64_t ms, std::int64_t now_ms) {
  return ms > now_ms ? (ms - now_ms + 999) / 1000 : 0;
}

json::object endpoint_object(const WebhookEndpoint& endpoint, std::int64_t now_ms) {
  json::array types;
  for (const std::string& type : endpoint.events) types.emplace_back(type);
  if (endpoint.events.empty())
    for (const std::string_view type : queue::kWebhookEventTypes) types.emplace_back(type);
  json::value url = nullptr, reason = nullptr;
  if (!endpoint.url.empty()) url = endpoint.url;
  if (!endpoint.disabled.empty()) reason = endpoint.disabled;
  const std::int64_t old_s =
      endpoint.old_secret.empty() ? 0 : seconds_until(endpoint.old_until_ms, now_ms);
  return {{"id", endpoint.id},
          {"object", "webhook_endpoint"},
          {"url", std::move(url)},
          {"event_types", std::move(types)},
          {"enabled", endpoint.disabled.empty()},
          {"disabled_reason", std::move(reason)},
          {"old_secret_seconds_left", old_s},
          {"created_at", endpoint.created_ms / 1000}};
}

json::object delivery_object(const WebhookDelivery& delivery, std::int64_t now_ms) {
  const bool pending = delivery.state == storage::WebhookState::Pending;
  json::value url = nullptr, status = nullptr, error = nullptr, next = nullptr;
  if (!delivery.url.empty()) url = delivery.url;
  if (delivery.last_status != 0) status = delivery.last_status;
  if (!delivery.last_error.empty()) error = delivery.last_error;
  if (pending) next = seconds_until(delivery.next_ms, now_ms);
  return {{"id", fmt::format("{}{}", kDeliveryPrefix, delivery.id)},
          {"object", "webhook_delivery"},
          {"endpoint", delivery.endpoint},
          {"url", std::move(url)},
          {"event_id", delivery.event_id},
          {"type", delivery.type},
          {"status", storage::to_string(delivery.state)},
          {"attempts", delivery.attempts},
          {"last_status", std::move(status)},
          {"last_error", std::move(error)},
          {"next_attempt_seconds", std::move(next)},
          {"created_at", delivery.created_ms / 1000}};
}

std::int64_t queue_ms(const Exchange& exchange) {
  return exchange.server.options.webhooks->queue_ms();
}

Reply with_secret(const Exchange& exchange, int status, const WebhookEndpoint& endpoint) {
  json::object body = endpoint_object(endpoint, queue_ms(exchange));
  body["signing_secret"] = endpoint.secret;
  return json_reply(status, json::serialize(body));
}

struct Wanted {
  std::string url;
  std::vector<std::string> events;
};

Result<std::vector<std::string>> read_types(const json::value* list) {
  std::vector<std::string> types;
  if (list == nullptr) return types;
  const auto& known = queue::kWebhookEventTypes;
  for (const json::value& one : list->get_array()) {
    const std::string_view type = one.is_string() ? std::string_view(one.get_string()) : "";
    if (std::find(known.begin(), known.end(), type) == known.end())
      return invalid("event_types",
                     fmt::format("holds {}, which is no type of event; there are {}.",
                                 json::serialize(one), fmt::join(known, ", ")));
    if (std::find(types.begin(), types.end(), type) == types.end()) types.emplace_back(type);
  }
  if (types.empty()) return invalid("event_types", "is empty; leave it out for all of them.");
  return types;
}

Result<Wanted> read_wanted(const Exchange& exchange) {
  const Result<json::object> body = parse_object(exchange.request.body());
  if (!body) return body.error();
  for (const auto& member : *body) {
    const std::string_view key(member.key().data(), member.key().size());
    if (auto known = check_known(key, {"url", "event_types"}); !known) return known.error();
  }
  if (!field(*body, "url"))
    return missing("url", "is missing; say where events go, as \"https://example.com/hook\".");
  if (auto ok = check_kind(*body, "url", JsonKind::String); !ok) return ok.error();
  if (auto ok = check_kind(*body, "event_types", JsonKind::Array); !ok) return ok.error();
  auto types = read_types(field(*body, "event_types"));
  if (!types) return types.error();
  return Wanted{.url = std::string(std::string_view(body->at("url").get_string())),
                .events = *std::move(types)};
}

Result<Duration> read_grace(const Exchange& exchange) {
  if (exchange.request.body().empty()) return queue::kSecretGraceDefault;
  const Result<json::object> body = parse_object(exchange.request.body());
  if (!body) return body.error();
  for (const auto& member : *body) {
    const std::string_view key(member.key().data(), member.key().size());
    if (auto known = check_known(key, {"grace_period"}); !known) return known.error();
  }
  if (auto ok = check_kind(*body, "grace_period", JsonKind::String); !ok) return ok.error();
  const json::value* said = field(*body, "grace_period");
  if (said == nullptr) return queue::kSecretGraceDefault;
  const auto grace = parse_duration(std::string_view(said->get_string()));
  if (!grace || *grace > queue::kSecretGraceMax || *grace < Duration(0))
    return invalid("grace_period", fmt::format("must be a duration up to {}, as 24h or 0s.",
                                               format_duration(queue::kSecretGraceMax)));
  return *grace;
}

std::optional<std::int64_t> delivery_id(std::string_view text) {
  if (!text.starts_with(kDeliveryPrefix)) return std::nullopt;
  text.remove_prefix(kDeliveryPrefix.size());
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id <= 0) return std::nullopt;
  return id;
}

Result<storage::DeliveryPage> read_page(const Exchange& exchange) {
  storage::DeliveryPage page;
  if (const std::string_view text = exchange.query_value("limit"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), page.limit);
    if (error != std::errc() || end != text.data() + text.size() || page.limit < 1 ||
        page.limit > queue::kDeliveriesPageMax)
      return invalid("limit", fmt::format("must be 1 to {}.", queue::kDeliveriesPageMax));
  }
  if (const std::string_view text = exchange.query_value("after"); !text.empty()) {
    const auto id = delivery_id(text);
    if (!id) return invalid("after", "must be the id of a delivery, as whd_12.");
    page.before = *id;
  }
  if (const std::string_view text = exchange.query_value("status"); !text.empty()) {
    page.state = storage::webhook_state(text);
    if (!page.state) return invalid("status", "must be pending, delivered or dead.");
  }
  return page;
}

}  // namespace

Coroutine<> run_webhook_endpoints(Exchange& exchange) {
  return answer_with<std::vector<WebhookEndpoint>>(
      exchange, [](WebhookAdmin& webhooks, auto done) { webhooks.list(std::move(done)); },
      [&exchange](const Result<std::vector<WebhookEndpoint>>& endpoints) {
        ListText list;
        for (const WebhookEndpoint& one : *endpoints)
          list.add(endpoint_object(one, queue_ms(exchange)));
        return json_reply(200, list.end());
      });
}

Coroutine<> run_webhook_add(Exchange& exchange) {
  const Result<Wanted> wanted = read_wanted(exchange);
  if (!wanted) return refuse(exchange, wanted.error());
  return answer_with<WebhookEndpoint>(
      exchange,
      [wanted = *wanted](WebhookAdmin& webhooks, auto done) {
        webhooks.add(wanted.url, wanted.events, std::move(done));
      },
      [&exchange](const Result<WebhookEndpoint>& made) {
        return with_secret(exchange, 201, *made);
      });
}

Coroutine<> run_webhook_remove(Exchange& exchange) {
  return answer_with<void>(
      exchange,
      [id = exchange.name](WebhookAdmin& webhooks, auto done) {
        webhooks.remove(id, std::move(done));
      },
      [](const Result<void>&) {
        Reply none;
        none.status = 204;
        return none;
      });
}

Coroutine<> run_webhook_rotate(Exchange& exchange) {
  const Result<Duration> grace = read_grace(exchange);
  if (!grace) return refuse(exchange, grace.error());
  return answer_with<WebhookEndpoint>(
      exchange,
      [id = exchange.name, grace = *grace](WebhookAdmin& webhooks, auto done) {
        webhooks.rotate(id, grace, std::move(done));
      },
      [&exchange](const Result<WebhookEndpoint>& endpoint) {
        return with_secret(exchange, 200, *endpoint);
      });
}

Coroutine<> run_webhook_enable(Exchange& exchange) {
  return answer_with<void>(
      exchange,
      [id = exchange.name](WebhookAdmin& webhooks, auto done) {
        webhooks.enable(id, std::move(done));
      },
      [id = exchange.name](const Result<void>&) {
        return json_reply(200, json::serialize(json::object{{"id", id}, {"enabled", true}}));
      });
}

Coroutine<> run_webhook_test(Exchange& exchange) {
  return answer_with<std::string>(
      exchange,
      [id = exchange.name](WebhookAdmin& webhooks, auto done) {
        webhooks.test(id, std::move(done));
      },
      [id = exchange.name](const Result<std::string>& event) {
        return json_reply(
            202, json::serialize(json::object{
                     {"endpoint", id}, {"event_id", *event}, {"type", queue::kWebhookTestType}}));
      });
}

Coroutine<> run_webhook_deliveries(Exchange& exchange) {
  const Result<storage::DeliveryPage> page = read_page(exchange);
  if (!page) return refuse(exchange, page.error());
  return answer_with<std::vector<WebhookDelivery>>(
      exchange,
      [id = exchange.name, page = *page](WebhookAdmin& webhooks, auto done) {
        webhooks.deliveries(id, page, std::move(done));
      },
      [&exchange](const Result<std::vector<WebhookDelivery>>& rows) {
        ListText list;
        for (const WebhookDelivery& one : *rows) list.add(delivery_object(one, queue_ms(exchange)));
        return json_reply(200, list.end());
      });
}

Coroutine<> run_webhook_replay(Exchange& exchange) {
  const auto id = delivery_id(exchange.name);
  if (!id)
    return refuse(exchange, Error{std::string(domain::error::kNotFound),
                                  "The path names no delivery, as whd_12 would.", "id"});
  return answer_with<WebhookDelivery>(
      exchange,
      [id = *id](WebhookAdmin& webhooks, auto done) { webhooks.replay(id, std::move(done)); },
      [&exchange](const Result<WebhookDelivery>& row) {
        return json_reply(202, json::serialize(delivery_object(*row, queue_ms(exchange))));
      });
}

}  // namespace glowplug::gateway
