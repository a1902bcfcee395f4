#include "app/live_queue.h"

#include <chrono>
#include <random>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "app/job_webhooks.h"
#include "queue/batch_types.h"
#include "storage/job_text.h"
#include "storage/usage_store.h"

namespace glowplug::app {
namespace {

using domain::JobState;

// What a job's caller owes is what its last attempt cost; who cancelled it pays for what it had.
// The rest is the platform's: attempts that became no result, and one that our own bounds ended.
domain::Receipt receipt_of(const storage::SettledJob& job) {
  const storage::JobEnd& end = job.end;
  domain::Receipt receipt = end.receipt.value_or(domain::Receipt());
  receipt.request = job.request_id.empty() ? storage::to_text(end.job) : job.request_id;
  receipt.job = end.job;
  receipt.function = job.function;
  receipt.at = end.finished;
  receipt.terminal = domain::to_string(end.state);
  receipt.status = end.status;
  receipt.attempts = end.attempts;
  receipt.platform.micros += job.platform.micros;
  return receipt;
}

// On the writer's thread.
Result<void> settled(storage::Database& database, const storage::SettledJob& job,
                     const queue::EmitWebhook& emit) {
  if (const Result<void> usage = storage::insert_usage(database, receipt_of(job)); !usage)
    return usage;
  return emit_job_end(database, job, emit);
}

}  // namespace

Result<std::unique_ptr<LiveQueue>> LiveQueue::open(const Parts& parts) {
  std::unique_ptr<LiveQueue> live(new LiveQueue(parts));
  LiveQueue* const owner = live.get();  // outlives all that it holds
  // Owners: works, which the writer may carry out after this object is gone.
  const auto emit = std::make_shared<queue::EmitWebhook>();
  auto jobs =
      LiveJobs::open({.loop = parts.loop,
                      .writer = parts.writer,
                      .platform = parts.platform,
                      .runner = parts.gateway.job_runner(),
                      .on_settle =
                          [emit](storage::Database& database, const storage::SettledJob& job) {
                            return settled(database, job, *emit);
                          },
                      .on_ended = [owner](const storage::JobEnd& end) { owner->ended(end); }});
  if (!jobs) return jobs.error();
  live->jobs_ = std::move(*jobs);
  live->webhooks_ = std::make_unique<LiveWebhooks>(
      LiveWebhooks::Parts{.loop = parts.loop,
                          .writer = parts.writer,
                          .reader = live->jobs_->reader(),
                          .clock = parts.clock,
                          .queue_ms =
                              [clock = live->jobs_->clock()] {
                                return std::chrono::duration_cast<std::chrono::milliseconds>(
                                           clock->now().time_since_epoch())
                                    .count();
                              },
                          .rule = parts.webhook_rule,
                          .seed = std::random_device{}()});
  *emit = live->webhooks_->service().emit();
  live->parts_.gateway.set_jobs(live->jobs());
  live->parts_.gateway.set_webhooks(live->webhooks_->admin());
  return live;
}

Result<void> LiveQueue::recover() {
  webhooks_->start();
  if (const Result<void> recovered = jobs_->recover(); !recovered) return recovered;
  auto batches = LiveBatches::open(
      {.loop = parts_.loop,
       .clock = parts_.clock,
       .data_dir = parts_.data_dir,
       .files_budget = parts_.files_budget,
       .batch_lines = parts_.batch_lines,
       .writes = parts_.writer,
       .reader = jobs_->reader(),
       .jobs = jobs(),
       .queue_now = [clock = jobs_->clock()] { return clock->now(); },
       .model_exists = [&platform = parts_.platform](
                           const std::string& model) { return platform.callee(model).has_value(); },
       .on_end =
           [emit = webhooks_->service().emit()](storage::Database& database,
                                                const queue::BatchRecord& batch) {
             return emit(database, {.type = fmt::format("batch.{}", queue::to_string(batch.state)),
                                    .object_id = queue::batch_id(batch.id),
                                    .traceparent = batch.traceparent});
           },
       .ended = [this](const queue::BatchRecord&) { webhooks_->service().poke(); }});
  if (!batches) return batches.error();
  batches_ = std::move(*batches);
  parts_.gateway.set_batches(batches_->files(), batches_->batches());
  return {};
}

void LiveQueue::ended(const storage::JobEnd& end) {
  webhooks_->service().poke();
  if (batches_) batches_->job_ended(end);
}

}  // namespace glowplug::app
