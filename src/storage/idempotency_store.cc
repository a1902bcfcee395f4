#include "storage/idempotency_store.h"

#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

std::int64_t ms_of(Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

}  // namespace

Result<std::optional<KeptAnswer>> find_key(Database& database, const IdempotencyKey& key,
                                           Time now) {
  Result<Statement> statement = database.prepare(
      "SELECT body_hash, job, status, answer, content_type FROM idempotency"
      " WHERE scope = ? AND key = ? AND created_queue_ms > ?"
      " AND (job = 0 OR EXISTS (SELECT 1 FROM jobs WHERE jobs.id = idempotency.job))");
  if (!statement) return statement.error();
  statement->bind(key.scope).bind(key.key).bind(ms_of(now - kIdempotencyKept));
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  if (!*row) return std::optional<KeptAnswer>();
  if (statement->text(0) != key.body_hash)
    return Error{std::string(domain::error::kIdempotencyKeyReused),
                 fmt::format("Idempotency-Key `{}` was sent with another body; a new request needs "
                             "a new key.",
                             key.key),
                 "Idempotency-Key"};
  return std::optional(KeptAnswer{.job = {static_cast<std::uint64_t>(statement->number(1))},
                                  .status = static_cast<int>(statement->number(2)),
                                  .body = statement->text(3),
                                  .content_type = statement->text(4)});
}

Result<void> keep_key(Database& database, const IdempotencyKey& key, const KeptAnswer& answer,
                      Time now) {
  Result<Statement> statement = database.prepare(
      "INSERT OR REPLACE INTO idempotency (scope, key, body_hash, job, status, answer,"
      " content_type, created_queue_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  if (!statement) return statement.error();
  return statement->bind(key.scope)
      .bind(key.key)
      .bind(key.body_hash)
      .bind(static_cast<std::int64_t>(answer.job.value))
      .bind(std::int64_t{answer.status})
      .bind(answer.body)
      .bind(answer.content_type)
      .bind(ms_of(now))
      .finish();
}

Result<int> sweep_keys(Database& database, Time now, int limit) {
  Result<Statement> statement = database.prepare(
      "DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency"
      " WHERE created_queue_ms <= ? LIMIT ?) RETURNING 1");
  if (!statement) return statement.error();
  statement->bind(ms_of(now - kIdempotencyKept)).bind(std::int64_t{limit});
  int swept = 0;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return swept;
    ++swept;
  }
}

}  // namespace glowplug::storage
