#include "queue/webhook_registry.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "queue/webhook_service.h"
#include "queue/webhook_signature.h"

namespace glowplug::queue {
namespace {

using storage::Database;
using storage::WebhookDelivery;
using storage::WebhookEndpoint;

Error no_endpoint(const std::string& id) {
  return {std::string(domain::error::kNotFound),
          fmt::format("There is no webhook endpoint {}; GET /v1/webhook-endpoints lists them.", id),
          "id"};
}

Result<void> known(const Result<bool>& there, const std::string& id) {
  if (!there) return there.error();
  return *there ? Result<void>() : Result<void>(no_endpoint(id));
}

Result<WebhookEndpoint> endpoint_of(Database& database, const std::string& id) {
  Result<std::optional<WebhookEndpoint>> found = storage::find_endpoint(database, id);
  if (!found) return found.error();
  if (!*found) return no_endpoint(id);
  return **std::move(found);
}

}  // namespace

// The work's value is carried from its thread to the loop; of no value only whether it failed.
template <typename T>
void WebhookRegistry::write(std::function<Result<T>(Database&)> work, Done<T> done) {
  const auto made = std::make_shared<std::optional<Result<T>>>();
  parts_.writes.post(
      [work = std::move(work), made](Database& database) -> Result<void> {
        *made = work(database);
        return **made ? Result<void>() : Result<void>((*made)->error());
      },
      [made, done = std::move(done), changed = parts_.changed](const Result<void>& written) {
        if (!written) return done(written.error());
        done(**std::move(made));
        changed();
      });
}

Result<void> WebhookRegistry::check_url(std::string_view url) const {
  const Result<models::Target> target = parts_.rule.check(url);
  return target ? Result<void>() : Result<void>(target.error());
}

void WebhookRegistry::list(Done<std::vector<WebhookEndpoint>> done) {
  parts_.reads.ask([](Database& database) { return storage::webhook_endpoints(database); },
                   std::move(done));
}

void WebhookRegistry::add(std::string url, std::vector<std::string> events,
                          Done<WebhookEndpoint> done) {
  if (const Result<void> checked = check_url(url); !checked) return done(checked.error());
  WebhookEndpoint endpoint{.id = new_webhook_id("we_"),
                           .url = std::move(url),
                           .events = std::move(events),
                           .secret = new_webhook_secret(),
                           .old_secret = {},
                           .disabled = {},
                           .created_ms = parts_.clock.wall_now().time_since_epoch().count()};
  write<WebhookEndpoint>(
      [endpoint = std::move(endpoint)](Database& database) -> Result<WebhookEndpoint> {
        const auto there = storage::webhook_endpoints(database);
        if (!there) return there.error();
        if (there->size() >= kWebhookEndpointsMax)
          return Error{std::string(domain::error::kWebhookLimit),
                       fmt::format("There are {} webhook endpoints, and there may be no more; "
                                   "remove one first.",
                                   there->size()),
                       {}};
        if (const Result<void> added = storage::add_endpoint(database, endpoint); !added)
          return added.error();
        return endpoint;
      },
      std::move(done));
}

void WebhookRegistry::remove(std::string id, Done<void> done) {
  if (id == storage::kJobsEndpoint)
    return done(Error{std::string(domain::error::kInvalidValue),
                      "The endpoint jobs signs what goes to addresses that jobs name; it stays.",
                      "id"});
  write<void>([id = std::move(id)](
                  Database& database) { return known(storage::remove_endpoint(database, id), id); },
              std::move(done));
}

void WebhookRegistry::rotate(std::string id, Duration grace, Done<WebhookEndpoint> done) {
  const std::int64_t until =
      parts_.queue_ms() + std::chrono::duration_cast<std::chrono::milliseconds>(grace).count();
  write<WebhookEndpoint>(
      [id = std::move(id), secret = new_webhook_secret(),
       until](Database& database) -> Result<WebhookEndpoint> {
        const Result<void> rotated = known(storage::rotate_secret(database, id, secret, until), id);
        if (!rotated) return rotated.error();
        return endpoint_of(database, id);
      },
      std::move(done));
}

void WebhookRegistry::enable(std::string id, Done<void> done) {
  write<void>(
      [id = std::move(id)](Database& database) {
        return known(storage::set_disabled(database, id, "", 0), id);
      },
      std::move(done));
}

void WebhookRegistry::test(std::string id, Done<std::string> done) {
  const std::int64_t wall_ms = parts_.clock.wall_now().time_since_epoch().count();
  storage::WebhookEventRow event = webhook_event_row(
      {.type = std::string(kWebhookTestType), .object_id = id}, parts_.queue_ms(), wall_ms);
  event.endpoint = id;
  write<std::string>(
      [event = std::move(event)](Database& database) -> Result<std::string> {
        const Result<WebhookEndpoint> there = endpoint_of(database, event.endpoint);
        if (!there) return there.error();
        if (there->url.empty() || !there->disabled.empty())
          return Error{
              std::string(domain::error::kInvalidValue),
              there->url.empty()
                  ? "The endpoint jobs has no address of its own to send a test to."
                  : fmt::format("The endpoint is disabled ({}); enable it first.", there->disabled),
              "id"};
        const Result<int> queued = storage::enqueue_event(database, event);
        if (!queued) return queued.error();
        return event.event_id;
      },
      std::move(done));
}

void WebhookRegistry::deliveries(std::string endpoint, storage::DeliveryPage page,
                                 Done<std::vector<WebhookDelivery>> done) {
  parts_.reads.ask(
      [endpoint = std::move(endpoint),
       page](Database& database) -> Result<std::vector<WebhookDelivery>> {
        const Result<WebhookEndpoint> there = endpoint_of(database, endpoint);
        if (!there) return there.error();
        return storage::list_deliveries(database, endpoint, page);
      },
      std::move(done));
}

void WebhookRegistry::replay(std::int64_t delivery, Done<WebhookDelivery> done) {
  write<WebhookDelivery>(
      [delivery, now_ms = parts_.queue_ms()](Database& database) -> Result<WebhookDelivery> {
        auto row = storage::replay_delivery(database, delivery, now_ms);
        if (!row) return row.error();
        if (!*row)
          return Error{std::string(domain::error::kNotFound),
                       "There is no such delivery (any more); GET "
                       "/v1/webhook-endpoints/{id}/deliveries lists them.",
                       "id"};
        return **std::move(row);
      },
      std::move(done));
}

}  // namespace glowplug::queue
