#include "queue/webhook_service.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <spdlog/spdlog.h>

#include "queue/webhook_signature.h"

namespace glowplug::queue {
namespace {

using storage::Database;
using storage::kJobsEndpoint;

constexpr std::int64_t kLookMsMax = 60'000;     // the longest without a look
constexpr std::int64_t kFailedWriteMs = 5'000;  // until what could not be recorded is sent again
constexpr std::int64_t kHostFullMs = 15'000;    // a row waits so long for a place of its host
constexpr std::int64_t kCountEveryMs = 10'000;  // all rows, through their index
constexpr int kJobRowsRead = 4 * kWebhooksOfJobs;
constexpr int kForgottenAtOnce = 1'000;
constexpr std::size_t kRestsKept = 1'024;

std::int64_t to_ms(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

int places_of(const std::string& endpoint) {
  return endpoint == kJobsEndpoint ? kWebhooksOfJobs : kWebhooksPerEndpoint;
}

// Jobs' own addresses rest by host: they have nothing else in common.
const std::string& rests_by(const storage::WebhookDelivery& delivery, const std::string& host) {
  return delivery.endpoint == kJobsEndpoint ? host : delivery.endpoint;
}

void leave(std::map<std::string, int>& places, const std::string& name) {
  const auto found = places.find(name);
  if (found != places.end() && --found->second <= 0) places.erase(found);
}

}  // namespace

storage::WebhookEventRow webhook_event_row(const WebhookEvent& event, std::int64_t queue_ms,
                                           std::int64_t wall_ms) {
  namespace json = boost::json;
  const std::string id = new_webhook_id("evt_");
  const json::object body{{"id", id},
                          {"object", "event"},
                          {"type", event.type},
                          {"created_at", wall_ms / 1000},
                          {"data", json::object{{"id", event.object_id}}}};
  return {.event_id = id,
          .type = event.type,
          .payload = json::serialize(body),
          .url = event.url,
          .now_ms = queue_ms,
          .created_ms = wall_ms,
          .traceparent = event.traceparent};
}

// What a look is about, and what it finds; filled on the reader's thread.
struct WebhookService::Reading {
  std::int64_t now_ms = 0;
  std::map<std::string, std::int64_t> resting_until;
  std::vector<Picked> picked;
  std::optional<std::int64_t> next_ms;
  bool forgettable = false;                     // rows are over for so long that they can go
  std::optional<storage::DeliveryCounts> kept;  // set: to be counted

  void wish(std::int64_t at) { next_ms = std::min(next_ms.value_or(at), at); }
};

WebhookService::WebhookService(Parts parts) : parts_(std::move(parts)) {}

WebhookService::~WebhookService() { *alive_ = false; }

void WebhookService::start() {
  const storage::WebhookEndpoint jobs{
      .id = std::string(kJobsEndpoint),
      .url = {},
      .events = {},
      .secret = new_webhook_secret(),
      .old_secret = {},
      .disabled = {},
      .created_ms = parts_.clock.wall_now().time_since_epoch().count()};
  parts_.writes.post(
      [jobs](Database& database) -> Result<void> {
        const auto there = storage::find_endpoint(database, jobs.id);
        if (!there) return there.error();
        return *there ? Result<void>() : storage::add_endpoint(database, jobs);
      },
      [this, alive = alive_](const Result<void>& done) {
        if (!*alive) return;
        if (!done) spdlog::error("webhooks: {}", done.error().message);
        look();
      },
      storage::Need::Must);
}

void WebhookService::poke() { look(); }

EmitWebhook WebhookService::emit() const {
  return [&clock = parts_.clock, queue_ms = parts_.queue_ms](
             Database& database, const WebhookEvent& event) -> Result<void> {
    const Result<int> queued = storage::enqueue_event(
        database,
        webhook_event_row(event, queue_ms(), clock.wall_now().time_since_epoch().count()));
    return queued ? Result<void>() : Result<void>(queued.error());
  };
}

void WebhookService::look() {
  if (looking_) {
    look_again_ = true;
    return;
  }
  looking_ = true;
  const auto reading = std::make_shared<Reading>();
  reading->now_ms = parts_.queue_ms();
  if (rests_.size() > kRestsKept)
    std::erase_if(rests_, [&reading](const auto& one) {
      return one.second.until_ms + to_ms(policy::kWebhookRestMax) < reading->now_ms;
    });
  for (const auto& [name, rest] : rests_)
    if (rest.until_ms > reading->now_ms) reading->resting_until[name] = rest.until_ms;
  if (!counted_ms_ || reading->now_ms >= *counted_ms_ + kCountEveryMs) {
    counted_ms_ = reading->now_ms;
    reading->kept.emplace();
  }
  parts_.reads.post([reading](Database& database) { return read_due(database, *reading); },
                    [this, reading, alive = alive_](const Result<void>& read) {
                      if (!*alive) return;
                      looking_ = false;
                      const bool again = std::exchange(look_again_, false);
                      if (!read) {
                        spdlog::warn("webhooks: {}", read.error().message);
                        return sleep_until(reading->now_ms + kFailedWriteMs);
                      }
                      counts_.kept = reading->kept.value_or(counts_.kept);
                      send_due(*reading);
                      if (again) look();
                    });
}

Result<void> WebhookService::read_due(Database& database, Reading& reading) {
  Result<std::vector<storage::WebhookEndpoint>> endpoints = storage::webhook_endpoints(database);
  if (!endpoints) return endpoints.error();
  for (storage::WebhookEndpoint& endpoint : *endpoints) {
    if (!endpoint.disabled.empty()) continue;
    // Those under way are due still, and come first; of jobs' addresses a few more are looked at,
    // because some may be of hosts without a place.
    const int limit = endpoint.id == kJobsEndpoint ? kJobRowsRead : kWebhooksPerEndpoint;
    Result<storage::DueDeliveries> due =
        storage::due_deliveries(database, endpoint.id, reading.now_ms, limit);
    if (!due) return due.error();
    if (due->next_due_ms) reading.wish(*due->next_due_ms);
    if (due->rows.empty()) continue;
    if (const auto rest = reading.resting_until.find(endpoint.id);
        rest != reading.resting_until.end()) {
      reading.wish(rest->second);
      continue;
    }
    reading.picked.push_back({std::move(endpoint), *std::move(due)});
  }
  const Result<bool> forgettable = storage::has_forgettable(database, reading.now_ms);
  if (!forgettable) return forgettable.error();
  reading.forgettable = *forgettable;
  if (!reading.kept) return {};
  const Result<storage::DeliveryCounts> kept = storage::count_deliveries(database);
  if (!kept) return kept.error();
  reading.kept = *kept;
  return {};
}

// Behind the endpoint that was served last, so that one with much to be sent does not keep the
// places of its host from others there.
std::vector<const WebhookService::Picked*> WebhookService::in_turn(const Reading& reading) const {
  std::vector<const Picked*> turn;
  for (const Picked& picked : reading.picked) turn.push_back(&picked);
  std::sort(turn.begin(), turn.end(), [this](const Picked* a, const Picked* b) {
    return std::pair(a->endpoint.id <= served_, std::string_view(a->endpoint.id)) <
           std::pair(b->endpoint.id <= served_, std::string_view(b->endpoint.id));
  });
  return turn;
}

void WebhookService::send_due(const Reading& reading) {
  std::vector<std::pair<std::int64_t, std::int64_t>> later;
  for (const Picked* one : in_turn(reading)) {
    const Picked& picked = *one;
    for (const storage::WebhookDelivery& row : picked.due.rows) {
      if (under_way_.contains(row.id)) continue;
      if (per_endpoint_[row.endpoint] >= places_of(row.endpoint)) break;
      if (under_way_.size() >= static_cast<std::size_t>(kWebhooksMax)) break;
      const std::string host = parts_.host_of(row.url.empty() ? picked.endpoint.url : row.url);
      const bool full = per_host_[host] >= kWebhooksPerEndpoint;
      if (row.endpoint == kJobsEndpoint) {
        const auto rest = reading.resting_until.find(host);
        const bool rests = rest != reading.resting_until.end();
        if (rests || full) {
          later.emplace_back(row.id, rests ? rest->second : reading.now_ms + kHostFullMs);
          continue;
        }
      } else if (full) {
        continue;  // seen again when a place of the host becomes free
      }
      send(picked.endpoint, row, host);
    }
  }
  std::erase_if(per_endpoint_, [](const auto& one) { return one.second == 0; });
  std::erase_if(per_host_, [](const auto& one) { return one.second == 0; });
  put_off(std::move(later));
  if (reading.forgettable)
    parts_.writes.post(
        [now_ms = reading.now_ms](Database& database) {
          return storage::forget_deliveries(database, now_ms, kForgottenAtOnce);
        },
        [](const Result<void>&) {}, storage::Need::Must);
  sleep_until(
      std::min(reading.next_ms.value_or(reading.now_ms + kLookMsMax), reading.now_ms + kLookMsMax));
}

void WebhookService::send(const storage::WebhookEndpoint& endpoint,
                          const storage::WebhookDelivery& row, const std::string& host) {
  served_ = row.endpoint;
  under_way_.insert(row.id);
  ++per_endpoint_[row.endpoint];
  ++per_host_[host];
  counts_.under_way = under_way_.size();
  Result<models::PostRequest> request =
      webhook_request(endpoint, row,
                      {.queue_ms = parts_.queue_ms(),
                       .unix_s = parts_.clock.wall_now().time_since_epoch().count() / 1000});
  if (!request)
    return heard(row, host, {.status = 0, .retry_after = {}, .failure = request.error().message});
  parts_.posts.post(*std::move(request),
                    [this, row, host, alive = alive_](const models::PostReply& reply) {
                      if (*alive) heard(row, host, reply);
                    });
}

void WebhookService::heard(const storage::WebhookDelivery& row, const std::string& host,
                           const models::PostReply& reply) {
  const std::int64_t now_ms = parts_.queue_ms();
  const WebhookOutcome outcome = webhook_outcome(
      row, reply, now_ms,
      parts_.seed ^ (static_cast<std::uint64_t>(row.id) * 0x9e3779b97f4a7c15U >> 16));
  using policy::WebhookFate;
  const WebhookFate fate = outcome.verdict.fate;
  ++(fate == WebhookFate::Delivered ? counts_.delivered
     : fate == WebhookFate::Dead    ? counts_.dead
                                    : counts_.again);
  const std::string& name = rests_by(row, host);
  if (outcome.verdict.rests_endpoint) {
    Rest& rest = rests_[name];
    rest.until_ms = now_ms + to_ms(policy::webhook_rest(++rest.in_a_row, reply.retry_after));
  } else {
    rests_.erase(name);
  }
  if (fate != WebhookFate::Delivered)
    spdlog::warn("webhook={} endpoint={} event={} attempt={} decision={} reason=\"{}\"", row.id,
                 row.endpoint, row.event_id, outcome.row.attempts,
                 fate == WebhookFate::Dead ? "dead" : "again", outcome.row.last_error);
  record(outcome, host);
}

void WebhookService::record(const WebhookOutcome& outcome, const std::string& host) {
  const bool disables = outcome.verdict.disables_endpoint && outcome.row.endpoint != kJobsEndpoint;
  parts_.writes.post(
      [row = outcome.row, disables](Database& database) -> Result<void> {
        if (const Result<void> done = storage::record_attempt(database, row); !done) return done;
        if (!disables) return {};
        const Result<bool> disabled =
            storage::set_disabled(database, row.endpoint, row.last_error, row.next_ms);
        return disabled ? Result<void>() : Result<void>(disabled.error());
      },
      [this, id = outcome.row.id, endpoint = outcome.row.endpoint, host,
       alive = alive_](const Result<void>& done) {
        if (!*alive) return;
        under_way_.erase(id);
        leave(per_endpoint_, endpoint);
        leave(per_host_, host);
        counts_.under_way = under_way_.size();
        if (!done) {
          spdlog::error("webhook={} decision=again reason=\"{}\"", id, done.error().message);
          rests_[endpoint].until_ms = parts_.queue_ms() + kFailedWriteMs;
        }
        look();
      },
      storage::Need::Must);
}

void WebhookService::put_off(std::vector<std::pair<std::int64_t, std::int64_t>> rows) {
  if (rows.empty()) return;
  parts_.writes.post(
      [rows = std::move(rows)](Database& database) -> Result<void> {
        for (const auto& [id, until_ms] : rows)
          if (const Result<void> done = storage::put_off(database, id, until_ms); !done)
            return done;
        return {};
      },
      [this, alive = alive_](const Result<void>& done) {
        if (*alive && done) look();
      },
      storage::Need::Must);
}

void WebhookService::sleep_until(std::int64_t ms) {
  const auto left = std::chrono::milliseconds(std::max<std::int64_t>(ms - parts_.queue_ms(), 1));
  parts_.wake(left, [this, alive = alive_] {
    if (*alive) look();
  });
}

}  // namespace glowplug::queue
