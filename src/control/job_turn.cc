// What is due in a turn, what may start, and when the next turn is.
#include <algorithm>
#include <string>
#include <utility>

#include "control/job_queue_state.h"
#include "domain/errors.h"

namespace glowplug::control {

using domain::JobId;
using At = JobRecord::At;

namespace {

// Of one turn, so that it delays nothing else: it takes a millisecond or less.
constexpr int kDueMost = 512;
constexpr std::size_t kChunksSweptMost = 64;

}  // namespace

// --- where a job waits ---

// It is Delayed, and in no heap, or Nowhere.
void JobQueue::State::queue(JobId job, JobRecord& record, Time not_before) {
  if (record.at == At::Nowhere) ++delayed;
  record.at = At::Delayed;
  record.not_before = not_before;
  if (not_before <= now) {
    // Who could have started earlier has waited since then.
    make_ready(job, record, not_before == Time{} ? now : not_before);
  } else {
    delay_heap.push({not_before, job.value});
  }
}

void JobQueue::State::make_ready(JobId job, JobRecord& record, Time since) {
  Function& function = functions[record.function];
  if (function.removed)
    return fail(job, record, domain::error::kModelNotFound, "its function was removed");
  --delayed;
  record.at = At::Ready;
  function.line.add(job, record, since);
  touch(record.function);
}

void JobQueue::State::leave(JobId job, JobRecord& record) {
  Function& function = functions[record.function];
  const At left = std::exchange(record.at, At::Nowhere);
  if (left == At::Running) {
    --function.running;
    running.erase(job.value);
    lease_heap.compact(running.size(), [this](const JobTimer& timer) { return leases(timer); });
    return touch(record.function);
  }
  --function.queued;
  if (left == At::Delayed) {
    --delayed;
    delay_heap.compact(delayed, [this](const JobTimer& timer) { return delays(timer); });
  } else if (!function.removed) {
    function.line.leave(record.urgency(), jobs);
  }
}

void JobQueue::State::touch(std::uint32_t function) {
  if (std::exchange(functions[function].touched, true)) return;
  touched.push_back(function);
}

// --- what is due ---

bool JobQueue::State::leases(const JobTimer& timer) const {
  const auto found = running.find(timer.of);
  return found != running.end() && found->second.timer == timer.at;
}

bool JobQueue::State::expires(const JobTimer& timer) const {
  const JobRecord* record = jobs.find({timer.of});
  return record != nullptr && record->expires_at == timer.at;
}

bool JobQueue::State::delays(const JobTimer& timer) const {
  const JobRecord* record = jobs.find({timer.of});
  return record != nullptr && record->at == At::Delayed && record->not_before == timer.at;
}

bool JobQueue::State::pauses(const JobTimer& timer) const {
  return functions[timer.of].paused_until == timer.at;
}

bool JobQueue::State::take_due() {
  int left = kDueMost;
  expire_due(left);
  lapse_due(left);
  ready_due(left);
  unpause_due(left);
  return left <= 0;
}

void JobQueue::State::expire_due(int& left) {
  const auto alive = [this](const JobTimer& timer) { return expires(timer); };
  for (;; --left) {
    expiry_heap.drop_dead_top(alive);
    if (expiry_heap.empty() || expiry_heap.top().at > now || left <= 0) return;
    const JobId job{expiry_heap.top().of};
    expire(job, *jobs.find(job));
  }
}

void JobQueue::State::lapse_due(int& left) {
  for (;; --left) {
    settle_lease_top();
    if (lease_heap.empty() || lease_heap.top().at > now || left <= 0) return;
    const JobId job{lease_heap.top().of};
    lapse(job, *jobs.find(job), running.at(job.value));
  }
}

// The first one is of an attempt, and where its lease ends.
void JobQueue::State::settle_lease_top() {
  while (!lease_heap.empty()) {
    const JobTimer timer = lease_heap.top();
    if (!leases(timer)) {
      lease_heap.pop();
      continue;
    }
    Attempt& attempt = running.at(timer.of);
    if (attempt.lapses == timer.at) return;
    lease_heap.pop();
    hold_lease({timer.of}, attempt);
  }
}

void JobQueue::State::lapse(JobId job, JobRecord& record, const Attempt& attempt) {
  Ending ending{.outcome = AttemptOutcome::Crashed,
                .code = domain::error::kReplicaFailed,
                .reason = "nothing was heard of it within its heartbeat_timeout"};
  if (!attempt.granted) {
    ending = {.outcome = AttemptOutcome::FunctionFailed,
              .code = domain::error::kFunctionFailed,
              .reason = "no replica had it within its load_timeout"};
  } else if (attempt.run_ends <= now) {
    ending = {.outcome = AttemptOutcome::TimedOut,
              .code = domain::error::kDeadlineExceeded,
              .reason = "it ran longer than its execution_timeout"};
  }
  stop(job, record, ending.reason);
  finish(job, record, ending);
}

void JobQueue::State::ready_due(int& left) {
  const auto alive = [this](const JobTimer& timer) { return delays(timer); };
  for (;; --left) {
    delay_heap.drop_dead_top(alive);
    if (delay_heap.empty() || delay_heap.top().at > now || left <= 0) return;
    const JobId job{delay_heap.top().of};
    delay_heap.pop();
    JobRecord& record = *jobs.find(job);
    make_ready(job, record, record.not_before);
  }
}

void JobQueue::State::unpause_due(int& left) {
  const auto alive = [this](const JobTimer& timer) { return pauses(timer); };
  for (;; --left) {
    pause_heap.drop_dead_top(alive);
    if (pause_heap.empty() || pause_heap.top().at > now || left <= 0) return;
    touch(static_cast<std::uint32_t>(pause_heap.top().of));
    pause_heap.pop();
  }
}

bool JobQueue::State::sweep() {
  for (std::size_t i = 0; i < kChunksSweptMost && !to_sweep.empty(); ++i) {
    const std::uint64_t chunk = to_sweep.back();
    to_sweep.pop_back();
    for (const JobId job : jobs.jobs_of(chunk)) {
      JobRecord& record = *jobs.find(job);
      if (functions[record.function].removed && record.at != At::Running)
        fail(job, record, domain::error::kModelNotFound, "its function was removed");
    }
  }
  return !to_sweep.empty();
}

// --- what starts ---

void JobQueue::State::start_ready() {
  for (std::size_t i = 0; i < touched.size(); ++i) {
    const std::uint32_t index = touched[i];
    Function& function = functions[index];
    while (!drained && !function.removed && function.paused_until <= now &&
           function.running < static_cast<std::size_t>(function.window.places())) {
      const auto job = function.line.front(jobs, now);
      if (!job) break;
      start(*job, *jobs.find(*job));
    }
    function.touched = false;
  }
  touched.clear();
}

std::optional<Time> JobQueue::State::next_wake() {
  settle_lease_top();
  expiry_heap.drop_dead_top([this](const JobTimer& timer) { return expires(timer); });
  delay_heap.drop_dead_top([this](const JobTimer& timer) { return delays(timer); });
  pause_heap.drop_dead_top([this](const JobTimer& timer) { return pauses(timer); });
  std::optional<Time> first;
  for (const JobHeap<JobTimer>* heap : {&expiry_heap, &lease_heap, &delay_heap, &pause_heap})
    if (!heap->empty()) first = std::min(first.value_or(Time::max()), heap->top().at);
  return first;
}

}  // namespace glowplug::control
