// The rows of jobs, as statements to be run inside a WriteLoop's work or a ReadLoop's read.
//
// An end is written once: the first that is committed wins, and one of an older attempt than the
// row knows changes nothing. `fence` is compared as "not newer", because the row of a start may
// have been lost with a failed commit while its attempt ran on.
//
// Request and result have a checksum each in the row. It is checked wherever they are read; what is
// damaged is an error that names the job, and is never served or run.
//
// Times of the queue (not_before, expires_at, kept_until) are of queue/queue_clock.h, times shown
// to people are of the wall. A row that is over holds `kept_until` where an open one holds
// `expires_at`.
//
// Thread: that of the database.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "control/job_queue.h"
#include "domain/job.h"
#include "domain/price.h"
#include "domain/receipt.h"
#include "storage/job_text.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

// The result of a batch's line waits for the rest of the batch, so much longer than others.
inline constexpr Duration kBatchLineKept = std::chrono::hours(48);

struct NewJob {
  domain::JobId id;
  std::string function, path, body, salt;
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
  WallTime created{};
  Time not_before{}, expires_at{};
  JobTerms terms;
  std::int64_t batch = 0, batch_line = 0;  // 0 = of no batch
  std::string webhook, request_id;
  std::string traceparent;  // of the call that made it; empty = none
};
Result<void> insert_job(Database& database, const NewJob& job);

// `at`: of the queue's clock, by which it is told how long the job has waited.
Result<void> start_job(Database& database, const control::StartAttempt& start, WallTime now,
                       Time at);
// `platform`: what the attempt has cost, which is not its caller's.
Result<void> requeue_job(Database& database, const control::RequeueJob& requeue,
                         domain::Money platform = {});
// The same of an attempt whose cost is known only after its job was queued again.
Result<void> add_platform_cost(Database& database, domain::JobId job, domain::Money platform);

struct JobEnd {
  domain::JobId job;
  std::uint64_t fence = 0;
  domain::JobState state = domain::JobState::Completed;
  int attempts = 0, kills = 0;
  bool dead_lettered = false;
  std::string code, reason;  // of api/errors.yaml, and a sentence; empty when completed
  int status = 0;            // of the answer; 0 = there is none
  std::string result;
  JobWork work;
  std::optional<domain::Receipt> receipt = {};  // of its last attempt; none = it cost nothing
  WallTime finished{};
  Time kept_until{};
};
// What else may be written with an end (usage, webhooks): the end and what its row says.
struct SettledJob {
  const JobEnd& end;
  std::string function, path, webhook, request_id, traceparent;
  std::int64_t batch = 0, batch_line = 0;
  WallTime created{}, started{};  // started: of the last attempt; 0 = it never ran
  domain::Money platform;         // what earlier attempts have cost
};
using OnSettle = std::function<Result<void>(Database&, const SettledJob&)>;
// False: the job was over already, or has a newer attempt, or is gone; then nothing is written.
Result<bool> settle_job(Database& database, const JobEnd& end, const OnSettle& with);

// --- reading ---

struct StoredRequest {
  std::string function, path, body, salt;
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
};
Result<std::optional<StoredRequest>> job_request(Database& database, domain::JobId job);

struct JobView {
  domain::JobId id;
  std::string function, path;
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
  domain::JobState state = domain::JobState::Queued;
  WallTime created{}, started{}, finished{};  // the epoch where there is none
  Duration
      waited{};  // from its acceptance or retry to its last start, whatever the wall clock says
  JobTerms terms;
  int attempts = 0, kills = 0;
  std::uint64_t fence = 0;
  std::int64_t batch = 0, batch_line = 0;
  std::string webhook, request_id;
  bool dead_lettered = false;
  std::string code, reason;  // of its end; `reason` also of what it waits for
  int status = 0;
  std::string result;  // only of find_job()
  JobWork work;
};
Result<std::optional<JobView>> find_job(Database& database, domain::JobId job);

struct JobFilter {
  std::optional<domain::JobState> state;
  std::string function;  // empty = any
  std::optional<domain::JobId> after;
  bool dead_lettered = false;  // only those
  int limit = 20;
};
// The newest first, without their results.
Result<std::vector<JobView>> list_jobs(Database& database, const JobFilter& filter);

// --- after a restart, and what comes back ---

// What was in progress under an earlier server is queued again.
Result<void> hand_back_jobs(Database& database);
// Each that is queued, in the order of their ids; only reads.
Result<void> recover_jobs(Database& database,
                          const std::function<void(control::JobArrived)>& visit);

// Queued anew with a fresh count of attempts, under a new fence; none where it is not failed or
// expired, or belongs to a batch.
Result<std::optional<control::JobArrived>> retry_job(Database& database, domain::JobId job,
                                                     Time now);
// The same of so many dead letters, the oldest first.
Result<std::vector<control::JobArrived>> redrive_jobs(Database& database, Time now, int limit);

// Only one that is over is removed; false otherwise, and where there is none.
Result<bool> delete_job(Database& database, domain::JobId job);
// Those that were kept long enough, at most so many; how many it were.
Result<int> sweep_jobs(Database& database, Time now, int limit);

}  // namespace glowplug::storage
