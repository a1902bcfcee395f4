// Webhook endpoints, and what is delivered to them: rows of the state file.
//
// An event becomes a row for each endpoint that wants its type, in the transaction that it is told
// of (an outbox): it is delivered if and only if that was committed. What a job's own address is
// sent belongs to the endpoint kJobsEndpoint, which holds the secret that those are signed with.
//
//   pending ──▶ delivered
//      ├──────▶ dead          attempts used up, or the endpoint is gone for good
//      ◀─ replay, of either ─┘
//
// `next_ms` is of the queue's clock: of a pending row when it is due, of another when it is
// forgotten. `created_ms` is the time of day, for display.
//
// Thread: whichever owns the connection; writes belong to the write loop's, inside its transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

inline constexpr std::string_view kJobsEndpoint = "jobs";

enum class WebhookState { Pending, Delivered, Dead };
std::string_view to_string(WebhookState state);
std::optional<WebhookState> webhook_state(std::string_view text);

struct WebhookEndpoint {
  std::string id;
  std::string url;                  // empty: each delivery names its own
  std::vector<std::string> events;  // empty: all types
  std::string secret;
  std::string old_secret;  // signs too until old_until_ms (queue's clock); often empty
  std::int64_t old_until_ms = 0;
  std::string disabled;  // why nothing goes to it; empty: it is enabled
  std::int64_t created_ms = 0;
  friend bool operator==(const WebhookEndpoint&, const WebhookEndpoint&) = default;
};

struct WebhookDelivery {
  std::int64_t id = 0;
  std::string endpoint;
  std::string url;       // of a job's own address; else empty, and the endpoint's
  std::string event_id;  // the same in each attempt: receivers tell repetitions by it
  std::string type;
  std::string payload;
  WebhookState state = WebhookState::Pending;
  int attempts = 0;
  std::int64_t next_ms = 0;
  int last_status = 0;
  std::string last_error;
  std::int64_t created_ms = 0;
  std::string traceparent;  // of the call that its event comes of; empty = none
  friend bool operator==(const WebhookDelivery&, const WebhookDelivery&) = default;
};

// --- endpoints; a bool says whether there is such a one ---

Result<void> add_endpoint(Database& database, const WebhookEndpoint& endpoint);
Result<std::vector<WebhookEndpoint>> webhook_endpoints(Database& database);  // oldest first
Result<std::optional<WebhookEndpoint>> find_endpoint(Database& database, std::string_view id);
Result<bool> remove_endpoint(Database& database, std::string_view id);  // with its deliveries
// The one that was current signs beside the new one until `old_until_ms`.
Result<bool> rotate_secret(Database& database, std::string_view id, std::string_view secret,
                           std::int64_t old_until_ms);
// With a reason nothing goes to it any more, and what was pending is dead.
Result<bool> set_disabled(Database& database, std::string_view id, std::string_view reason,
                          std::int64_t forgotten_ms);

// --- deliveries ---

struct WebhookEventRow {
  std::string event_id;
  std::string type;
  std::string payload;
  std::string url = {};       // of the job itself; empty: it names none
  std::string endpoint = {};  // this one alone, whatever it wants; empty: all that want the type
  std::int64_t now_ms = 0;    // queue's clock
  std::int64_t created_ms = 0;
  std::string traceparent = {};
};
// How many deliveries it becomes. Inside the transaction that the event is of.
Result<int> enqueue_event(Database& database, const WebhookEventRow& event);

// Rows in each state.
struct DeliveryCounts {
  std::uint64_t pending = 0, delivered = 0, dead = 0;
};
Result<DeliveryCounts> count_deliveries(Database& database);

struct DueDeliveries {
  std::vector<WebhookDelivery> rows;        // the earliest first
  std::optional<std::int64_t> next_due_ms;  // of what is not due yet
};
Result<DueDeliveries> due_deliveries(Database& database, std::string_view endpoint,
                                     std::int64_t now_ms, int limit);

// What an attempt has led to: state, attempts, next_ms, last_status and last_error of `delivery`. A
// row that was replayed or removed meanwhile (it has other `attempts` than one less) stays.
Result<void> record_attempt(Database& database, const WebhookDelivery& delivery);
Result<void> put_off(Database& database, std::int64_t id, std::int64_t until_ms);

struct DeliveryPage {
  std::optional<WebhookState> state;
  std::int64_t before = 0;  // an id; 0: from the newest
  int limit = 20;
};
Result<std::vector<WebhookDelivery>> list_deliveries(Database& database, std::string_view endpoint,
                                                     const DeliveryPage& page);  // newest first
// Due at once, as if it were new; what it became, or nothing where there is none.
Result<std::optional<WebhookDelivery>> replay_delivery(Database& database, std::int64_t id,
                                                       std::int64_t now_ms);
Result<bool> has_forgettable(Database& database, std::int64_t now_ms);
Result<void> forget_deliveries(Database& database, std::int64_t now_ms, int limit);

}  // namespace glowplug::storage
