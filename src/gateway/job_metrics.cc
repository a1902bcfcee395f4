#include "gateway/job_metrics.h"

#include <fmt/format.h>

namespace glowplug::gateway {
namespace {

void write_file_metrics(MetricsText& text, const storage::WriteCounts& writes) {
  text.counter("glowplug_state_writes", "Changes that are on the disk.", writes.writes);
  text.counter("glowplug_state_commits", "Transactions that held them.", writes.commits);
  text.counter("glowplug_state_syncs", "Calls of fsync, those of checkpoints too.", writes.syncs);
  text.counter("glowplug_state_writes_failed", "Changes that could not be written.", writes.failed);
  text.counter("glowplug_state_writes_refused",
               "Changes that were not tried: the disk is full or too slow.", writes.refused);
  text.counter("glowplug_state_reopened",
               "Times that the state file was opened anew after a failed write.", writes.reopened);
  text.gauge("glowplug_state_log_bytes", "Of the write-ahead log.", writes.wal_bytes);
  text.gauge("glowplug_state_disk_full", "1 while there is no room for the state file.",
             writes.disk_full ? 1 : 0);
}

}  // namespace

void write_job_metrics(MetricsText& text, const queue::JobService& jobs) {
  const control::JobCounts open = jobs.counts();
  const queue::JobTotals& totals = jobs.totals();
  text.gauge("glowplug_jobs_queued", "Jobs that wait.", open.queued);
  text.gauge("glowplug_jobs_running",
             "Jobs with an attempt under way, or whose end is being written.", open.running);
  text.counter("glowplug_jobs_accepted", "Jobs that are on the disk.", totals.accepted);
  text.counter("glowplug_jobs_found", "Jobs that an earlier server had left.", totals.found);
  text.counter("glowplug_jobs_retried", "Jobs that were over and were queued anew.",
               totals.retried);
  text.counter("glowplug_jobs_attempts", "Attempts that were begun.", totals.started);
  text.counter("glowplug_jobs_requeued", "Attempts that another is to follow.", totals.requeued);
  text.counter("glowplug_jobs_fenced", "What came of attempts that did not run any more.",
               jobs.fenced());
  text.counter("glowplug_jobs_replayed",
               "Requests whose Idempotency-Key was known, and which were not carried out again.",
               totals.replayed);
  text.counter("glowplug_jobs_ends_rewritten", "Writes of ends that failed and were made again.",
               totals.ends_rewritten);
  text.family("glowplug_jobs_ended", "counter", "Jobs that are over, by state and error.");
  for (const auto& [end, count] : totals.ended)
    text.sample("glowplug_jobs_ended_total",
                fmt::format("status=\"{}\",code=\"{}\"", domain::to_string(end.first), end.second),
                count);
  text.family("glowplug_jobs_refused", "counter", "Jobs that were not accepted, by error.");
  for (const auto& [code, count] : totals.refused)
    text.sample("glowplug_jobs_refused_total", fmt::format("code=\"{}\"", code), count);
  write_file_metrics(text, jobs.writes());
}

}  // namespace glowplug::gateway
