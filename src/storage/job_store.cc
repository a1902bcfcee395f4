#include "storage/job_store.h"

#include <initializer_list>
#include <utility>

#include <fmt/format.h>

#include "base/fnv.h"
#include "domain/errors.h"

namespace glowplug::storage {
namespace {

using domain::JobId;
using domain::JobState;

// States are numbers in rows; those that are not over come first.
constexpr std::int64_t number_of(JobState state) { return static_cast<std::int64_t>(state); }
static_assert(number_of(JobState::Queued) == 0 && number_of(JobState::InProgress) == 1);

std::int64_t row_of(JobId id) { return static_cast<std::int64_t>(id.value); }
JobId id_of(std::int64_t row) { return {static_cast<std::uint64_t>(row)}; }

std::int64_t ms_of(Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}
Time time_of(std::int64_t ms) { return Time(std::chrono::milliseconds(ms)); }
std::int64_t ms_of(WallTime time) { return time.time_since_epoch().count(); }
WallTime wall_of(std::int64_t ms) { return WallTime(std::chrono::milliseconds(ms)); }

// 32 bits of it; the column `crc` has the request's below and the result's above.
constexpr std::int64_t kRequestSum = 0xffffffff;

std::int64_t checksum(JobId id, std::initializer_list<std::string_view> parts) {
  Fnv hash;
  hash.step(id.value);
  for (const std::string_view part : parts) {
    hash.step(part.size());
    hash.add(part);
  }
  return static_cast<std::int64_t>((hash.value() ^ (hash.value() >> 32)) & kRequestSum);
}

std::int64_t result_sum(JobId id, int status, const std::string& result, const std::string& work) {
  return checksum(id, {std::to_string(status), result, work});
}

Error damaged(JobId id, std::string_view what) {
  return Error{std::string(domain::error::kStorageFailed),
               fmt::format("The {} of {} is damaged in the state file and is not used; restore the "
                           "file from a backup, or delete the job.",
                           what, to_text(id)),
               {}};
}

// Steps to the end; how many rows came.
Result<int> count_rows(Statement& statement) {
  int rows = 0;
  while (true) {
    const Result<bool> row = statement.step();
    if (!row) return row.error();
    if (!*row) return rows;
    ++rows;
  }
}

}  // namespace

Result<void> insert_job(Database& database, const NewJob& job) {
  Result<Statement> statement = database.prepare(
      "INSERT INTO jobs (id, function, path, body, salt, urgency, state, created_ms, not_before_ms,"
      " expires_ms, attempts, kills, fence, limits, batch, batch_line, webhook, started_ms,"
      " finished_ms, code, reason, dead_lettered, status, result, meta, request_id, traceparent,"
      " crc)"
      " VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, 0, 0, 0, ?, ?, ?, ?, 0, 0, '', '', 0, 0, '', '', ?,"
      " ?, ?)");
  if (!statement) return statement.error();
  return statement->bind(row_of(job.id))
      .bind(job.function)
      .bind(job.path)
      .bind(job.body)
      .bind(job.salt)
      .bind(static_cast<std::int64_t>(job.urgency))
      .bind(ms_of(job.created))
      .bind(ms_of(job.not_before))
      .bind(ms_of(job.expires_at))
      .bind(terms_text(job.terms))
      .bind(job.batch)
      .bind(job.batch_line)
      .bind(job.webhook)
      .bind(job.request_id)
      .bind(job.traceparent)
      .bind(checksum(job.id, {job.function, job.path, job.body, job.salt}))
      .finish();
}

Result<void> start_job(Database& database, const control::StartAttempt& start, WallTime now,
                       Time at) {
  Result<Statement> statement = database.prepare(
      "UPDATE jobs SET state = 1, fence = ?, attempts = ?, started_ms = ?, reason = '',"
      " waited_ms = max(0, ? - expires_ms + json_extract(limits, '$.ttl_ms'))"
      " WHERE id = ? AND fence < ? AND state IN (0, 1)");
  if (!statement) return statement.error();
  const auto fence = static_cast<std::int64_t>(start.fence);
  return statement->bind(fence)
      .bind(std::int64_t{start.attempts})
      .bind(ms_of(now))
      .bind(ms_of(at))
      .bind(row_of(start.job))
      .bind(fence)
      .finish();
}

Result<void> requeue_job(Database& database, const control::RequeueJob& requeue,
                         domain::Money platform) {
  Result<Statement> statement = database.prepare(
      "UPDATE jobs SET state = 0, fence = ?, attempts = ?, kills = ?, not_before_ms = ?,"
      " reason = ?, platform_micros = platform_micros + ?"
      " WHERE id = ? AND fence <= ? AND state IN (0, 1)");
  if (!statement) return statement.error();
  const auto fence = static_cast<std::int64_t>(requeue.fence);
  return statement->bind(fence)
      .bind(std::int64_t{requeue.attempts})
      .bind(std::int64_t{requeue.kills})
      .bind(ms_of(requeue.not_before))
      .bind(requeue.reason)
      .bind(platform.micros)
      .bind(row_of(requeue.job))
      .bind(fence)
      .finish();
}

Result<void> add_platform_cost(Database& database, domain::JobId job, domain::Money platform) {
  Result<Statement> statement = database.prepare(
      "UPDATE jobs SET platform_micros = platform_micros + ? WHERE id = ? AND state IN (0, 1)");
  if (!statement) return statement.error();
  return statement->bind(platform.micros).bind(row_of(job)).finish();
}

Result<bool> settle_job(Database& database, const JobEnd& end, const OnSettle& with) {
  Result<Statement> statement = database.prepare(
      "UPDATE jobs SET state = ?, fence = ?, attempts = ?, kills = ?, dead_lettered = ?, code = ?,"
      " reason = ?, status = ?, result = ?, meta = ?, finished_ms = ?,"
      " expires_ms = ? + (batch > 0) * ?, crc = (crc & 4294967295) | (? << 32)"
      " WHERE id = ? AND fence <= ? AND state IN (0, 1)"
      " RETURNING function, path, webhook, request_id, batch, batch_line, created_ms, started_ms,"
      " platform_micros, traceparent");
  if (!statement) return statement.error();
  const auto fence = static_cast<std::int64_t>(end.fence);
  const std::string work = work_text(end.work);
  statement->bind(number_of(end.state))
      .bind(fence)
      .bind(std::int64_t{end.attempts})
      .bind(std::int64_t{end.kills})
      .bind(std::int64_t{end.dead_lettered})
      .bind(end.code)
      .bind(end.reason)
      .bind(std::int64_t{end.status})
      .bind(end.result)
      .bind(work)
      .bind(ms_of(end.finished))
      .bind(ms_of(end.kept_until))
      .bind(std::chrono::duration_cast<std::chrono::milliseconds>(kBatchLineKept).count())
      .bind(result_sum(end.job, end.status, end.result, work))
      .bind(row_of(end.job))
      .bind(fence);
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  if (!*row) return false;
  const SettledJob settled{.end = end,
                           .function = statement->text(0),
                           .path = statement->text(1),
                           .webhook = statement->text(2),
                           .request_id = statement->text(3),
                           .traceparent = statement->text(9),
                           .batch = statement->number(4),
                           .batch_line = statement->number(5),
                           .created = wall_of(statement->number(6)),
                           .started = wall_of(statement->number(7)),
                           .platform = {statement->number(8)}};
  if (const Result<void> finished = statement->finish(); !finished) return finished.error();
  if (with)
    if (const Result<void> also = with(database, settled); !also) return also.error();
  return true;
}

Result<std::optional<StoredRequest>> job_request(Database& database, JobId job) {
  Result<Statement> statement =
      database.prepare("SELECT function, path, body, salt, crc, urgency FROM jobs WHERE id = ?");
  if (!statement) return statement.error();
  statement->bind(row_of(job));
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  if (!*row) return std::optional<StoredRequest>();
  StoredRequest request{.function = statement->text(0),
                        .path = statement->text(1),
                        .body = statement->text(2),
                        .salt = statement->text(3),
                        .urgency = static_cast<domain::JobUrgency>(statement->number(5))};
  const std::int64_t sum =
      checksum(job, {request.function, request.path, request.body, request.salt});
  if ((statement->number(4) & kRequestSum) != sum) return damaged(job, "request");
  return std::optional(std::move(request));
}

Result<void> hand_back_jobs(Database& database) {
  return database.execute("UPDATE jobs SET state = 0 WHERE state = 1");
}

Result<void> recover_jobs(Database& database,
                          const std::function<void(control::JobArrived)>& visit) {
  Result<Statement> statement = database.prepare(
      "SELECT id, function, urgency, not_before_ms, expires_ms, attempts, kills, fence, limits"
      " FROM jobs WHERE state = 0 ORDER BY id");
  if (!statement) return statement.error();
  std::string text;  // most jobs have the terms of the one before
  JobTerms terms;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return {};
    if (std::string own = statement->text(8); own != text) {
      const Result<JobTerms> read = read_terms(own);
      if (!read) return read.error();
      terms = *read;
      text = std::move(own);
    }
    visit({.job = id_of(statement->number(0)),
           .function = statement->text(1),
           .urgency = static_cast<domain::JobUrgency>(statement->number(2)),
           .not_before = time_of(statement->number(3)),
           .expires_at = time_of(statement->number(4)),
           .attempts = static_cast<int>(statement->number(5)),
           .kills = static_cast<int>(statement->number(6)),
           .fence = static_cast<std::uint64_t>(statement->number(7)),
           .limits = terms.limits});
  }
}

Result<bool> delete_job(Database& database, JobId job) {
  Result<Statement> statement =
      database.prepare("DELETE FROM jobs WHERE id = ? AND state > 1 RETURNING 1");
  if (!statement) return statement.error();
  statement->bind(row_of(job));
  const Result<int> rows = count_rows(*statement);
  if (!rows) return rows.error();
  return *rows > 0;
}

Result<int> sweep_jobs(Database& database, Time now, int limit) {
  Result<Statement> statement = database.prepare(
      "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE finished_ms > 0 AND expires_ms <= ?"
      " LIMIT ?) RETURNING 1");
  if (!statement) return statement.error();
  statement->bind(ms_of(now)).bind(std::int64_t{limit});
  return count_rows(*statement);
}

namespace {

// What a retry makes of a row; `which` picks the rows.
Result<std::vector<control::JobArrived>> queue_anew(Database& database, const std::string& which,
                                                    Time now, std::int64_t picked) {
  Result<Statement> statement = database.prepare(
      "UPDATE jobs SET state = 0, attempts = 0, kills = 0, fence = fence + 1, dead_lettered = 0,"
      " code = '', reason = '', status = 0, result = '', meta = '', started_ms = 0,"
      " finished_ms = 0, not_before_ms = ?, expires_ms = ? + json_extract(limits, '$.ttl_ms'),"
      // What it costs from now on has a receipt of its own.
      " request_id = substr(request_id, 1, instr(request_id || '.', '.') - 1) || '.' || (fence + "
      "1),"
      " platform_micros = 0"
      " WHERE " +
      which + " RETURNING id, function, urgency, expires_ms, fence, limits");
  if (!statement) return statement.error();
  statement->bind(ms_of(now)).bind(ms_of(now)).bind(picked);
  std::vector<control::JobArrived> list;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return list;
    const Result<JobTerms> terms = read_terms(statement->text(5));
    if (!terms) return terms.error();
    list.push_back({.job = id_of(statement->number(0)),
                    .function = statement->text(1),
                    .urgency = static_cast<domain::JobUrgency>(statement->number(2)),
                    .not_before = now,
                    .expires_at = time_of(statement->number(3)),
                    .fence = static_cast<std::uint64_t>(statement->number(4)),
                    .limits = terms->limits});
  }
}

}  // namespace

Result<std::optional<control::JobArrived>> retry_job(Database& database, JobId job, Time now) {
  Result<std::vector<control::JobArrived>> one =
      queue_anew(database, "id = ? AND state IN (3, 5) AND batch = 0", now, row_of(job));
  if (!one) return one.error();
  if (one->empty()) return std::optional<control::JobArrived>();
  return std::optional(std::move(one->front()));
}

Result<std::vector<control::JobArrived>> redrive_jobs(Database& database, Time now, int limit) {
  return queue_anew(database,
                    "id IN (SELECT id FROM jobs WHERE dead_lettered = 1 AND batch = 0"
                    " ORDER BY id LIMIT ?)",
                    now, limit);
}

namespace {

constexpr std::string_view kViewed =
    "id, function, path, urgency, state, created_ms, started_ms, finished_ms, limits, attempts,"
    " kills, fence, batch, batch_line, webhook, request_id, dead_lettered, code, reason, status,"
    " waited_ms, meta";
constexpr int kViewedCount = 22;

Result<JobView> view_of(const Statement& row) {
  JobView view{.id = id_of(row.number(0)),
               .function = row.text(1),
               .path = row.text(2),
               .urgency = static_cast<domain::JobUrgency>(row.number(3)),
               .state = static_cast<JobState>(row.number(4)),
               .created = wall_of(row.number(5)),
               .started = wall_of(row.number(6)),
               .finished = wall_of(row.number(7)),
               .waited = std::chrono::milliseconds(row.number(20)),
               .terms = {},
               .attempts = static_cast<int>(row.number(9)),
               .kills = static_cast<int>(row.number(10)),
               .fence = static_cast<std::uint64_t>(row.number(11)),
               .batch = row.number(12),
               .batch_line = row.number(13),
               .webhook = row.text(14),
               .request_id = row.text(15),
               .dead_lettered = row.number(16) != 0,
               .code = row.text(17),
               .reason = row.text(18),
               .status = static_cast<int>(row.number(19)),
               .result = {},
               .work = {}};
  const Result<JobTerms> terms = read_terms(row.text(8));
  if (!terms) return damaged(view.id, "request");
  view.terms = *terms;
  const Result<JobWork> work = read_work(row.text(21));
  if (!work) return damaged(view.id, "result");
  view.work = *work;
  return view;
}

}  // namespace

Result<std::optional<JobView>> find_job(Database& database, JobId job) {
  Result<Statement> statement =
      database.prepare(fmt::format("SELECT {}, result, crc FROM jobs WHERE id = ?", kViewed));
  if (!statement) return statement.error();
  statement->bind(row_of(job));
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  if (!*row) return std::optional<JobView>();
  Result<JobView> view = view_of(*statement);
  if (!view) return view.error();
  view->result = statement->text(kViewedCount);
  const std::int64_t sum =
      result_sum(job, view->status, view->result, statement->text(kViewedCount - 1));
  const auto stored = static_cast<std::uint64_t>(statement->number(kViewedCount + 1)) >> 32;
  if (is_terminal(view->state) && stored != static_cast<std::uint64_t>(sum))
    return damaged(job, "result");
  return std::optional(std::move(*view));
}

Result<std::vector<JobView>> list_jobs(Database& database, const JobFilter& filter) {
  // Few texts, each of which is compiled once: values are bound.
  std::string sql = fmt::format("SELECT {} FROM jobs WHERE 1", kViewed);
  if (filter.state) sql += " AND state = ?";
  if (!filter.function.empty()) sql += " AND function = ?";
  if (filter.after) sql += " AND id < ?";
  if (filter.dead_lettered) sql += " AND dead_lettered = 1";
  Result<Statement> statement = database.prepare(sql + " ORDER BY id DESC LIMIT ?");
  if (!statement) return statement.error();
  if (filter.state) statement->bind(number_of(*filter.state));
  if (!filter.function.empty()) statement->bind(filter.function);
  if (filter.after) statement->bind(row_of(*filter.after));
  statement->bind(std::int64_t{filter.limit});
  std::vector<JobView> list;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return list;
    Result<JobView> view = view_of(*statement);
    if (!view) return view.error();
    list.push_back(std::move(*view));
  }
}

}  // namespace glowplug::storage
