#include "storage/webhook_store.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace glowplug::storage {
namespace {

constexpr std::array<std::string_view, 3> kStates{"pending", "delivered", "dead"};

constexpr std::string_view kEndpointColumns =
    "id, url, events, secret, old_secret, old_until_ms, disabled, created_ms";
constexpr std::string_view kDeliveryColumns =
    "id, endpoint, url, event_id, type, payload, state, attempts, next_ms, last_status,"
    " last_error, created_ms, traceparent";

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    parts.emplace_back(part);
    text.remove_prefix(std::min(text.size(), part.size() + 1));
  }
  return parts;
}

WebhookEndpoint read_endpoint(const Statement& row) {
  return {.id = row.text(0),
          .url = row.text(1),
          .events = split(row.text(2)),
          .secret = row.text(3),
          .old_secret = row.text(4),
          .old_until_ms = row.number(5),
          .disabled = row.text(6),
          .created_ms = row.number(7)};
}

WebhookDelivery read_delivery(const Statement& row) {
  return {.id = row.number(0),
          .endpoint = row.text(1),
          .url = row.text(2),
          .event_id = row.text(3),
          .type = row.text(4),
          .payload = row.text(5),
          .state = webhook_state(row.text(6)).value_or(WebhookState::Dead),
          .attempts = static_cast<int>(row.number(7)),
          .next_ms = row.number(8),
          .last_status = static_cast<int>(row.number(9)),
          .last_error = row.text(10),
          .created_ms = row.number(11),
          .traceparent = row.text(12)};
}

template <typename Row, typename Read>
Result<std::vector<Row>> all_rows(Statement& statement, Read read) {
  std::vector<Row> rows;
  while (true) {
    const Result<bool> row = statement.step();
    if (!row) return row.error();
    if (!*row) return rows;
    rows.push_back(read(statement));
  }
}

// Runs one that changes rows and tells whether it changed any.
Result<bool> changes(Database& database, Statement& statement) {
  if (const Result<void> done = statement.finish(); !done) return done.error();
  Result<Statement> count = database.prepare("SELECT changes()");
  if (!count) return count.error();
  const Result<bool> row = count->step();
  if (!row) return row.error();
  return count->number(0) > 0;
}

bool wants(const WebhookEndpoint& endpoint, const WebhookEventRow& event) {
  if (endpoint.id == kJobsEndpoint) return false;
  if (!event.endpoint.empty()) return endpoint.id == event.endpoint;
  const auto& types = endpoint.events;
  return endpoint.disabled.empty() &&
         (types.empty() || std::find(types.begin(), types.end(), event.type) != types.end());
}

Result<void> insert(Database& database, std::string_view endpoint, std::string_view url,
                    const WebhookEventRow& event) {
  Result<Statement> statement = database.prepare(
      "INSERT INTO webhook_deliveries (endpoint, url, event_id, type, payload, state, attempts,"
      " next_ms, last_status, last_error, created_ms, traceparent)"
      " VALUES (?, ?, ?, ?, ?, 'pending', 0, ?, 0, '', ?, ?)");
  if (!statement) return statement.error();
  return statement->bind(endpoint)
      .bind(url)
      .bind(event.event_id)
      .bind(event.type)
      .bind(event.payload)
      .bind(event.now_ms)
      .bind(event.created_ms)
      .bind(event.traceparent)
      .finish();
}

}  // namespace

std::string_view to_string(WebhookState state) { return kStates[static_cast<std::size_t>(state)]; }

std::optional<WebhookState> webhook_state(std::string_view text) {
  const auto found = std::find(kStates.begin(), kStates.end(), text);
  if (found == kStates.end()) return std::nullopt;
  return static_cast<WebhookState>(found - kStates.begin());
}

Result<void> add_endpoint(Database& database, const WebhookEndpoint& endpoint) {
  Result<Statement> statement = database.prepare(fmt::format(
      "INSERT INTO webhook_endpoints ({}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kEndpointColumns));
  if (!statement) return statement.error();
  return statement->bind(endpoint.id)
      .bind(endpoint.url)
      .bind(fmt::format("{}", fmt::join(endpoint.events, ",")))
      .bind(endpoint.secret)
      .bind(endpoint.old_secret)
      .bind(endpoint.old_until_ms)
      .bind(endpoint.disabled)
      .bind(endpoint.created_ms)
      .finish();
}

Result<std::vector<WebhookEndpoint>> webhook_endpoints(Database& database) {
  Result<Statement> statement = database.prepare(
      fmt::format("SELECT {} FROM webhook_endpoints ORDER BY created_ms, id", kEndpointColumns));
  if (!statement) return statement.error();
  return all_rows<WebhookEndpoint>(*statement, read_endpoint);
}

Result<std::optional<WebhookEndpoint>> find_endpoint(Database& database, std::string_view id) {
  Result<Statement> statement = database.prepare(
      fmt::format("SELECT {} FROM webhook_endpoints WHERE id = ?", kEndpointColumns));
  if (!statement) return statement.error();
  const Result<bool> row = statement->bind(id).step();
  if (!row) return row.error();
  if (!*row) return std::optional<WebhookEndpoint>();
  return std::optional(read_endpoint(*statement));
}

Result<bool> remove_endpoint(Database& database, std::string_view id) {
  Result<Statement> rows = database.prepare("DELETE FROM webhook_deliveries WHERE endpoint = ?");
  if (!rows) return rows.error();
  if (const Result<void> done = rows->bind(id).finish(); !done) return done.error();
  Result<Statement> statement = database.prepare("DELETE FROM webhook_endpoints WHERE id = ?");
  if (!statement) return statement.error();
  return changes(database, statement->bind(id));
}

Result<bool> rotate_secret(Database& database, std::string_view id, std::string_view secret,
                           std::int64_t old_until_ms) {
  Result<Statement> statement = database.prepare(
      "UPDATE webhook_endpoints SET old_secret = secret, secret = ?, old_until_ms = ?"
      " WHERE id = ?");
  if (!statement) return statement.error();
  return changes(database, statement->bind(secret).bind(old_until_ms).bind(id));
}

Result<bool> set_disabled(Database& database, std::string_view id, std::string_view reason,
                          std::int64_t forgotten_ms) {
  Result<Statement> statement =
      database.prepare("UPDATE webhook_endpoints SET disabled = ? WHERE id = ?");
  if (!statement) return statement.error();
  const Result<bool> changed = changes(database, statement->bind(reason).bind(id));
  if (!changed || !*changed || reason.empty()) return changed;
  Result<Statement> rows = database.prepare(
      "UPDATE webhook_deliveries SET state = 'dead', last_error = ?, next_ms = ?"
      " WHERE endpoint = ? AND state = 'pending'");
  if (!rows) return rows.error();
  if (const Result<void> done = rows->bind(reason).bind(forgotten_ms).bind(id).finish(); !done)
    return done.error();
  return true;
}

Result<int> enqueue_event(Database& database, const WebhookEventRow& event) {
  const Result<std::vector<WebhookEndpoint>> endpoints = webhook_endpoints(database);
  if (!endpoints) return endpoints.error();
  int count = 0;
  for (const WebhookEndpoint& endpoint : *endpoints) {
    if (!wants(endpoint, event)) continue;
    if (const Result<void> done = insert(database, endpoint.id, "", event); !done)
      return done.error();
    ++count;
  }
  if (event.url.empty()) return count;
  if (const Result<void> done = insert(database, kJobsEndpoint, event.url, event); !done)
    return done.error();
  return count + 1;
}

Result<DeliveryCounts> count_deliveries(Database& database) {
  Result<Statement> rows =
      database.prepare("SELECT state, count(*) FROM webhook_deliveries GROUP BY state");
  if (!rows) return rows.error();
  DeliveryCounts counts;
  while (true) {
    const Result<bool> row = rows->step();
    if (!row) return row.error();
    if (!*row) return counts;
    const auto count = static_cast<std::uint64_t>(rows->number(1));
    switch (webhook_state(rows->text(0)).value_or(WebhookState::Pending)) {
      case WebhookState::Pending: counts.pending = count; break;
      case WebhookState::Delivered: counts.delivered = count; break;
      case WebhookState::Dead: counts.dead = count; break;
    }
  }
}

Result<DueDeliveries> due_deliveries(Database& database, std::string_view endpoint,
                                     std::int64_t now_ms, int limit) {
  DueDeliveries due;
  Result<Statement> rows = database.prepare(
      fmt::format("SELECT {} FROM webhook_deliveries WHERE endpoint = ? AND state = 'pending'"
                  " AND next_ms <= ? ORDER BY next_ms, id LIMIT ?",
                  kDeliveryColumns));
  if (!rows) return rows.error();
  rows->bind(endpoint).bind(now_ms).bind(std::int64_t{limit});
  Result<std::vector<WebhookDelivery>> read = all_rows<WebhookDelivery>(*rows, read_delivery);
  if (!read) return read.error();
  due.rows = *std::move(read);
  Result<Statement> next = database.prepare(
      "SELECT next_ms FROM webhook_deliveries WHERE endpoint = ? AND state = 'pending'"
      " AND next_ms > ? ORDER BY next_ms LIMIT 1");
  if (!next) return next.error();
  const Result<bool> row = next->bind(endpoint).bind(now_ms).step();
  if (!row) return row.error();
  if (*row) due.next_due_ms = next->number(0);
  return due;
}

Result<void> record_attempt(Database& database, const WebhookDelivery& delivery) {
  Result<Statement> statement = database.prepare(
      "UPDATE webhook_deliveries SET state = ?, attempts = ?, next_ms = ?, last_status = ?,"
      " last_error = ? WHERE id = ? AND attempts = ? AND state = 'pending'");
  if (!statement) return statement.error();
  return statement->bind(to_string(delivery.state))
      .bind(std::int64_t{delivery.attempts})
      .bind(delivery.next_ms)
      .bind(std::int64_t{delivery.last_status})
      .bind(delivery.last_error)
      .bind(delivery.id)
      .bind(std::int64_t{delivery.attempts - 1})
      .finish();
}

Result<void> put_off(Database& database, std::int64_t id, std::int64_t until_ms) {
  Result<Statement> statement = database.prepare(
      "UPDATE webhook_deliveries SET next_ms = ? WHERE id = ? AND state = 'pending'");
  if (!statement) return statement.error();
  return statement->bind(until_ms).bind(id).finish();
}

Result<std::vector<WebhookDelivery>> list_deliveries(Database& database, std::string_view endpoint,
                                                     const DeliveryPage& page) {
  std::string where = "endpoint = ?";
  if (page.before > 0) where += " AND id < ?";
  if (page.state) where += " AND state = ?";
  Result<Statement> statement =
      database.prepare(fmt::format("SELECT {} FROM webhook_deliveries WHERE {}"
                                   " ORDER BY id DESC LIMIT ?",
                                   kDeliveryColumns, where));
  if (!statement) return statement.error();
  statement->bind(endpoint);
  if (page.before > 0) statement->bind(page.before);
  if (page.state) statement->bind(to_string(*page.state));
  statement->bind(std::int64_t{page.limit});
  return all_rows<WebhookDelivery>(*statement, read_delivery);
}

Result<std::optional<WebhookDelivery>> replay_delivery(Database& database, std::int64_t id,
                                                       std::int64_t now_ms) {
  Result<Statement> statement = database.prepare(
      fmt::format("UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_ms = ?"
                  " WHERE id = ? RETURNING {}",
                  kDeliveryColumns));
  if (!statement) return statement.error();
  const Result<bool> row = statement->bind(now_ms).bind(id).step();
  if (!row) return row.error();
  if (!*row) return std::optional<WebhookDelivery>();
  WebhookDelivery delivery = read_delivery(*statement);
  if (const Result<void> done = statement->finish(); !done) return done.error();
  return std::optional(std::move(delivery));
}

Result<bool> has_forgettable(Database& database, std::int64_t now_ms) {
  Result<Statement> statement = database.prepare(
      "SELECT 1 FROM webhook_deliveries WHERE state IN ('delivered', 'dead') AND next_ms <= ?"
      " LIMIT 1");
  if (!statement) return statement.error();
  return statement->bind(now_ms).step();
}

Result<void> forget_deliveries(Database& database, std::int64_t now_ms, int limit) {
  Result<Statement> statement = database.prepare(
      "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries"
      " WHERE state IN ('delivered', 'dead') AND next_ms <= ? LIMIT ?)");
  if (!statement) return statement.error();
  return statement->bind(now_ms).bind(std::int64_t{limit}).finish();
}

}  // namespace glowplug::storage
