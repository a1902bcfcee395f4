#include "storage/schema.h"

#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

// Times end in _ms: those of the wall clock since 1970, for display; those of the queue clock,
// which decide, count the milliseconds that this folder's queue has been served or slept, over
// restarts. 0 and '' stand for "not (yet)".

constexpr std::string_view kFunctions =
    "CREATE TABLE revisions (name TEXT NOT NULL, revision INTEGER NOT NULL, manifest TEXT NOT NULL,"
    "  PRIMARY KEY (name, revision)) WITHOUT ROWID;"
    "CREATE TABLE functions (name TEXT PRIMARY KEY NOT NULL, current INTEGER NOT NULL,"
    "  deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;";

constexpr std::string_view kTuned =
    "ALTER TABLE revisions ADD COLUMN tuned TEXT NOT NULL DEFAULT '';";

// What has served before the step is not known, so a rollback reaches no further back.
constexpr std::string_view kServings =
    "CREATE TABLE servings (name TEXT NOT NULL, position INTEGER NOT NULL,"
    "  revision INTEGER NOT NULL, weight INTEGER NOT NULL,"
    "  PRIMARY KEY (name, position, revision)) WITHOUT ROWID;"
    "INSERT INTO servings SELECT name, 1, current, 100 FROM functions WHERE deleted = 0;"
    "CREATE TABLE checkpoints (name TEXT NOT NULL, step INTEGER NOT NULL,"
    "  revision INTEGER NOT NULL, created_ms INTEGER NOT NULL, content TEXT NOT NULL,"
    "  checksum TEXT NOT NULL, PRIMARY KEY (name, step)) WITHOUT ROWID;";

constexpr std::string_view kLearnedMemory =
    "CREATE TABLE learned_memory (key TEXT PRIMARY KEY NOT NULL, engine TEXT NOT NULL,"
    "  first_bytes INTEGER NOT NULL, peak_bytes INTEGER NOT NULL) WITHOUT ROWID;";

constexpr std::string_view kQueueAndLedger = R"sql(
-- One row: where the queue clock stood (queue_ms) when the machine's clocks stood there. `epoch` is
-- drawn at random once for this file: ids of a file that was lost and made anew are not its own.
CREATE TABLE queue_clock (
  boot_id TEXT NOT NULL, boottime_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL,
  queue_ms INTEGER NOT NULL, epoch INTEGER NOT NULL);

-- A job from its acceptance on. created, started and finished are of the wall clock, not_before and
-- expires of the queue clock. `crc` is over the result's columns (row_checksum.h).
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY NOT NULL,
  function TEXT NOT NULL, path TEXT NOT NULL, body BLOB NOT NULL, salt TEXT NOT NULL DEFAULT '',
  urgency INTEGER NOT NULL DEFAULT 0, state INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL, not_before_ms INTEGER NOT NULL DEFAULT 0,
  expires_ms INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, kills INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0,
  limits TEXT NOT NULL DEFAULT '',                                               -- JSON
  batch INTEGER NOT NULL DEFAULT 0, batch_line INTEGER NOT NULL DEFAULT 0,       -- batch 0: none
  webhook TEXT NOT NULL DEFAULT '',
  started_ms INTEGER NOT NULL DEFAULT 0, finished_ms INTEGER NOT NULL DEFAULT 0,
  code TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
  dead_lettered INTEGER NOT NULL DEFAULT 0,
  platform_micros INTEGER NOT NULL DEFAULT 0,                                    -- of earlier attempts
  status INTEGER NOT NULL DEFAULT 0, result BLOB NOT NULL DEFAULT x'',           -- as HTTP
  meta TEXT NOT NULL DEFAULT '',                      -- JSON: phases, usage, revision, cold
  request_id TEXT NOT NULL DEFAULT '', crc INTEGER NOT NULL DEFAULT 0);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_function ON jobs (function, state, id);
CREATE INDEX jobs_by_batch ON jobs (batch, batch_line) WHERE batch > 0;
CREATE INDEX jobs_by_end ON jobs (finished_ms) WHERE finished_ms > 0;
CREATE INDEX jobs_dead ON jobs (dead_lettered) WHERE dead_lettered = 1;

-- An Idempotency-Key and what it was answered.
CREATE TABLE idempotency (
  scope TEXT NOT NULL, key TEXT NOT NULL, body_hash TEXT NOT NULL,
  job INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0,
  answer BLOB NOT NULL DEFAULT x'', content_type TEXT NOT NULL DEFAULT '',
  created_queue_ms INTEGER NOT NULL, PRIMARY KEY (scope, key)) WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_queue_ms);

-- One row for each call and its one terminal state. Money is in millionths. `row` is JSON.
CREATE TABLE usage (
  request_id TEXT PRIMARY KEY NOT NULL, job INTEGER NOT NULL DEFAULT 0,
  function TEXT NOT NULL, revision INTEGER NOT NULL DEFAULT 0, key TEXT NOT NULL DEFAULT '',
  day TEXT NOT NULL, at_ms INTEGER NOT NULL,                          -- day: UTC, yyyy-mm-dd
  terminal TEXT NOT NULL, row TEXT NOT NULL DEFAULT '',
  cost_micros INTEGER NOT NULL DEFAULT 0, platform_micros INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
  completion_tokens INTEGER NOT NULL DEFAULT 0, device_ms INTEGER NOT NULL DEFAULT 0,
  crc INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX usage_by_day ON usage (day);
CREATE INDEX usage_by_function ON usage (function, day);
CREATE INDEX usage_by_key ON usage (key, day);
-- How far each segment of the usage log is folded into `usage`, in bytes.
CREATE TABLE usage_fold (segment TEXT PRIMARY KEY NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE webhook_endpoints (
  id TEXT PRIMARY KEY NOT NULL, url TEXT NOT NULL, events TEXT NOT NULL, secret TEXT NOT NULL,
  old_secret TEXT NOT NULL DEFAULT '', old_until_ms INTEGER NOT NULL DEFAULT 0,
  disabled TEXT NOT NULL DEFAULT '', created_ms INTEGER NOT NULL) WITHOUT ROWID;
-- next_ms is of the queue clock; url is of a job's own address.
CREATE TABLE webhook_deliveries (
  id INTEGER PRIMARY KEY NOT NULL, endpoint TEXT NOT NULL, url TEXT NOT NULL DEFAULT '',
  event_id TEXT NOT NULL,
  type TEXT NOT NULL, payload BLOB NOT NULL, state TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0, next_ms INTEGER NOT NULL DEFAULT 0,
  last_status INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',
  created_ms INTEGER NOT NULL);
CREATE INDEX deliveries_by_time ON webhook_deliveries (state, next_ms);
CREATE INDEX deliveries_by_endpoint ON webhook_deliveries (endpoint, id);
CREATE INDEX deliveries_due ON webhook_deliveries (endpoint, next_ms) WHERE state = 'pending';

CREATE TABLE files (
  id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER NOT NULL,
  digest TEXT NOT NULL DEFAULT '', created_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL) WITHOUT ROWID;
-- expires_queue_ms is of the queue clock; times and errors are JSON.
CREATE TABLE batches (
  id INTEGER PRIMARY KEY NOT NULL, endpoint TEXT NOT NULL, input_file TEXT NOT NULL,
  metadata TEXT NOT NULL DEFAULT '', state TEXT NOT NULL, created_ms INTEGER NOT NULL,
  expires_queue_ms INTEGER NOT NULL DEFAULT 0, total INTEGER NOT NULL DEFAULT 0,
  done INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  output_file TEXT NOT NULL DEFAULT '', error_file TEXT NOT NULL DEFAULT '',
  times TEXT NOT NULL DEFAULT '', errors TEXT NOT NULL DEFAULT '');
)sql";

// traceparent: of the call that made a job, as W3C Trace Context has it: what is told of the job
// continues it. waited_ms: from its acceptance or retry to its last start.
constexpr std::string_view kTraces = R"sql(
ALTER TABLE jobs ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN waited_ms INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET waited_ms = max(0, started_ms - created_ms) WHERE started_ms > 0;
ALTER TABLE webhook_deliveries ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';
)sql";

// The step at index i brings the schema from version i to i + 1.
constexpr std::array<std::string_view, 6> kMigrations{kFunctions,     kTuned,          kServings,
                                                      kLearnedMemory, kQueueAndLedger, kTraces};
constexpr int kSchemaVersion = static_cast<int>(kMigrations.size());

Result<int> schema_version(Database& database) {
  const Result<void> made =
      database.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)");
  if (!made) return made.error();
  Result<Statement> statement = database.prepare("SELECT max(version) FROM schema_version");
  if (!statement) return statement.error();
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  return static_cast<int>(statement->number(0));
}

}  // namespace

Result<void> migrate(Database& database, const std::string& file) {
  Result<Transaction> transaction = Transaction::begin(database);
  if (!transaction) return transaction.error();
  const Result<int> version = schema_version(database);
  if (!version) return version.error();
  if (*version > kSchemaVersion)
    return Error{std::string(domain::error::kStorageFailed),
                 fmt::format("'{}' was written by a newer Glowplug (schema {}, this program knows "
                             "up to {}); use that version, or another data folder",
                             file, *version, kSchemaVersion),
                 {}};
  if (*version == kSchemaVersion) return {};
  for (int step = *version; step < kSchemaVersion; ++step) {
    const Result<void> done =
        database.execute(std::string(kMigrations[static_cast<std::size_t>(step)]));
    if (!done) return done.error();
  }
  const Result<void> noted = database.execute(fmt::format(
      "DELETE FROM schema_version; INSERT INTO schema_version VALUES ({})", kSchemaVersion));
  if (!noted) return noted.error();
  return transaction->commit();
}

}  // namespace glowplug::storage
