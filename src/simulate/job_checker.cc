#include "simulate/job_checker.h"

#include <algorithm>

#include "policy/job_order.h"

namespace glowplug::simulate {

using domain::JobId;
using domain::JobUrgency;

void JobChecker::fail(JobId job, const std::string& what) {
  if (!violation_) violation_ = "job " + std::to_string(job.value) + ": " + what;
}

void JobChecker::read(const JobRow& row, Time now) {
  const JobId job = row.accepted.job;
  const control::SettleJob& end = row.settled;
  if (row.ends != 1) fail(job, "has " + std::to_string(row.ends) + " ends");
  if (end.attempts > row.accepted.limits.attempts_max) fail(job, "had too many attempts");
  if (end.state == domain::JobState::Expired && now < row.accepted.expires_at)
    fail(job, "expired early");
  const auto [known, first] = ends_.try_emplace(job.value, end);
  const control::SettleJob& before = known->second;
  if (!first && (before.state != end.state || before.fence != end.fence ||
                 before.keeps_answer != end.keeps_answer))
    fail(job, "its end has changed");
  for (const auto& [name, function] : functions_)
    for (const auto& [running, fence] : function.running)
      if (running == job.value) fail(job, "runs after its end");
}

void JobChecker::all_over(const std::map<std::uint64_t, JobRow>& rows) {
  for (const std::uint64_t job : told_) {
    const auto row = rows.find(job);
    if (row == rows.end()) {
      fail({job}, "was accepted and is lost");
    } else if (!domain::is_terminal(row->second.state) || !ends_.contains(job)) {
      fail({job}, "was accepted and has not ended");
    }
  }
  for (const auto& [name, function] : functions_)
    if (!function.running.empty()) fail({function.running.begin()->first}, "runs still");
}

void JobChecker::arrived(const control::JobArrived& job, Time now) {
  jobs_[job.job.value] = {.job = job, .ready_at = job.not_before == Time{} ? now : job.not_before};
}

void JobChecker::started(const control::StartAttempt& start, Time now) {
  const auto known = jobs_.find(start.job.value);
  if (known == jobs_.end()) return fail(start.job, "starts and is not there");
  Waiting& job = known->second;
  Function& function = functions_[job.job.function];
  if (ends_.contains(start.job.value)) fail(start.job, "starts after its end");
  if (job.running) fail(start.job, "runs twice at once");
  if (job.ready_at > now) fail(start.job, "starts before its time");
  if (job.job.expires_at != Time{} && job.job.expires_at <= now) fail(start.job, "starts too late");
  if (start.fence != job.job.fence + 1) fail(start.job, "starts with a fence out of turn");
  if (start.attempts != job.job.attempts + 1) fail(start.job, "starts with a count out of turn");
  if (std::cmp_greater_equal(function.running.size(), std::max(function.places, 1)))
    fail(start.job, "starts where there is no place");
  check_order(job, now);
  job.running = true;
  job.passed_by = 0;
  job.job.fence = start.fence;
  function.running.insert({start.job.value, start.fence});
}

void JobChecker::check_order(const Waiting& started, Time now) {
  const Function& function = functions_[started.job.function];
  const bool batch = started.job.urgency == JobUrgency::Batch;
  const bool batch_due =
      function.batch_since && now - *function.batch_since >= policy::kBatchPatience;
  for (auto& [id, other] : jobs_) {
    if (other.job.function != started.job.function || &other == &started || !is_ready(other, now))
      continue;
    const bool other_batch = other.job.urgency == JobUrgency::Batch;
    if (other_batch == batch && other.job.job < started.job.job)
      fail(started.job.job, "starts before an older one");
    if (batch && !other_batch && !batch_due)
      fail(started.job.job, "starts before an interactive one");
    if (!other_batch) continue;
    const bool patient = now - other.ready_at < policy::kBatchPatience;
    other.passed_by = batch || patient ? 0 : other.passed_by + 1;
    if (other.passed_by >= policy::kBatchShare) fail(other.job.job, "is passed by for ever");
  }
}

void JobChecker::stopped(JobId job, std::uint64_t fence) {
  for (auto& [name, function] : functions_) function.running.erase({job.value, fence});
}

void JobChecker::requeued(const control::RequeueJob& back, Time now) {
  const auto known = jobs_.find(back.job.value);
  if (known == jobs_.end()) return fail(back.job, "is queued again and is not there");
  const int counted = back.attempts - known->second.job.attempts;
  if (counted != 0 && counted != 1) fail(back.job, "is queued again with a count out of turn");
  known->second.job.attempts = back.attempts;
  known->second.running = false;
  known->second.ready_at = std::max(back.not_before, now);
}

void JobChecker::settled(JobId job) { jobs_.erase(job.value); }

void JobChecker::turn_over(Time now) {
  for (auto& [name, function] : functions_) {
    std::optional<Time> since;
    for (const auto& [id, job] : jobs_)
      if (job.job.function == name && job.job.urgency == JobUrgency::Batch && is_ready(job, now))
        since = std::min(since.value_or(Time::max()), job.ready_at);
    if (!since || !function.batch_since) function.batch_since = since;
  }
}

void JobChecker::crashed() {
  jobs_.clear();
  functions_.clear();
}

}  // namespace glowplug::simulate
