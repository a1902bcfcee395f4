// How attempts begin, and how they and their jobs end.
#include <algorithm>
#include <string>
#include <utility>

#include "base/fnv.h"
#include "control/job_queue_state.h"
#include "domain/errors.h"
#include "policy/job_retry.h"

namespace glowplug::control {

using domain::JobId;
using domain::JobState;
using policy::AttemptVerdict;
using std::chrono::milliseconds;

namespace {

constexpr std::string_view what_happened(AttemptOutcome outcome) {
  switch (outcome) {
    case AttemptOutcome::Answered: return "answered";
    case AttemptOutcome::Invalid: return "the request is at fault";
    case AttemptOutcome::FunctionFailed: return "the function failed";
    case AttemptOutcome::NoCapacity: return "no capacity";
    case AttemptOutcome::Crashed: return "its replica ended";
    case AttemptOutcome::TimedOut: return "it ran longer than the function's timeout";
    case AttemptOutcome::HandedBack: return "handed back";
  }
  return "";
}

std::string why_dead(bool blamed, const policy::JobTries& tries, std::string_view what) {
  if (blamed) return "replicas end because of it";
  if (tries.kills >= policy::kJobKills)
    return std::to_string(tries.kills) + " replicas ended while they ran it";
  return "all of its " + std::to_string(tries.attempts) +
         " attempts failed; the last: " + std::string(what);
}

}  // namespace

void JobQueue::State::start(JobId job, JobRecord& record) {
  Function& function = functions[record.function];
  function.line.start(record);
  --function.queued;
  ++function.running;
  record.at = JobRecord::At::Running;
  ++record.fence;
  Attempt& attempt = running[job.value];
  attempt = {.number = function.window.start(), .lapses = now + milliseconds(record.load_ms)};
  hold_lease(job, attempt);
  effects.list.push_back(StartAttempt{job, record.fence, record.attempts + 1});
}

void JobQueue::State::note_alive(Attempt& attempt, const JobRecord& record) {
  attempt.lapses = std::min(attempt.run_ends, now + milliseconds(record.heartbeat_ms));
}

void JobQueue::State::hold_lease(JobId job, Attempt& attempt) {
  attempt.timer = attempt.lapses;
  lease_heap.push({attempt.timer, job.value});
}

void JobQueue::State::finish(JobId job, JobRecord& record, const Ending& ending) {
  const auto after = policy::after_attempt(ending.outcome, ending.blamed,
                                           {record.attempts, record.attempts_max, record.kills});
  const std::string_view what =
      ending.reason.empty() ? what_happened(ending.outcome) : ending.reason;
  const std::uint64_t spread_by = spread(job, record);
  const Duration refused_for =
      note_capacity(record.function, running.at(job.value), ending, spread_by);
  record.attempts = static_cast<std::uint16_t>(after.tries.attempts);
  record.kills = static_cast<std::uint8_t>(after.tries.kills);
  SettleJob settled{.state = JobState::Failed,
                    .keeps_answer = ending.answered,
                    .code = std::string(ending.answered ? std::string_view{} : ending.code),
                    .reason = std::string(what)};
  switch (after.verdict) {
    case AttemptVerdict::Complete:
      settled.state = JobState::Completed;
      return settle(job, record, std::move(settled));
    case AttemptVerdict::Fail: return settle(job, record, std::move(settled));
    case AttemptVerdict::DeadLetter:
      settled.dead_lettered = true;
      settled.reason = why_dead(ending.blamed, after.tries, what);
      return settle(job, record, std::move(settled));
    case AttemptVerdict::Again: break;
  }
  const Duration pause = refused_for > Duration{}
                             ? refused_for
                             : policy::failure_pause(after.tries.attempts, spread_by);
  requeue(job, record, now + pause, what);
}

// What the end of an attempt says about places: a refusal closes the function for a while, and
// whatever has run has made room. So does a replica that did not come: the next job's would not
// come either, and a backlog is not to fail within seconds because its function cannot start just
// now. The pause of a refusal, or nothing.
Duration JobQueue::State::note_capacity(std::uint32_t index, const Attempt& attempt,
                                        const Ending& ending, std::uint64_t spread_by) {
  Function& function = functions[index];
  if (ending.outcome == AttemptOutcome::Answered) function.window.answered();
  if (attempt.granted) function.paused_until = {};
  const bool refused =
      ending.outcome == AttemptOutcome::NoCapacity || ending.outcome == AttemptOutcome::HandedBack;
  const bool never_started = ending.outcome == AttemptOutcome::FunctionFailed && !attempt.granted;
  if (!refused && !never_started) return {};
  const bool counts = function.window.refused(attempt.number);
  const Duration pause =
      policy::capacity_pause(function.window.refused_in_a_row(), ending.retry_after, spread_by);
  if (counts) {
    function.paused_until = now + pause;
    pause_heap.push({function.paused_until, index});
  }
  return refused ? pause : Duration{};
}

void JobQueue::State::stop(JobId job, const JobRecord& record, std::string_view reason) {
  effects.list.push_back(StopAttempt{job, record.fence, std::string(reason)});
}

void JobQueue::State::requeue(JobId job, JobRecord& record, Time not_before,
                              std::string_view reason) {
  if (functions[record.function].removed)
    return fail(job, record, domain::error::kModelNotFound, "its function was removed");
  leave(job, record);
  ++functions[record.function].queued;
  effects.list.push_back(RequeueJob{job, record.fence, record.attempts, record.kills, not_before,
                                    std::string(reason)});
  queue(job, record, not_before);
}

void JobQueue::State::settle(JobId job, JobRecord& record, SettleJob settled) {
  settled.job = job;
  settled.fence = record.fence;
  settled.attempts = record.attempts;
  settled.kills = record.kills;
  effects.list.push_back(std::move(settled));
  leave(job, record);
  const std::uint32_t function = record.function;
  const bool could_expire = record.expires_at != Time::max();
  jobs.erase(job);
  if (could_expire)
    expiry_heap.compact(--expiring, [this](const JobTimer& timer) { return expires(timer); });
  retire_unused(function);
}

// Whatever it does; an attempt under way counts.
void JobQueue::State::abandon(JobId job, JobRecord& record, SettleJob settled) {
  if (record.at == JobRecord::At::Running) {
    stop(job, record, settled.reason);
    ++record.attempts;
  }
  settle(job, record, std::move(settled));
}

void JobQueue::State::fail(JobId job, JobRecord& record, std::string_view code,
                           std::string_view reason) {
  settle(job, record,
         {.state = JobState::Failed, .code = std::string(code), .reason = std::string(reason)});
}

void JobQueue::State::expire(JobId job, JobRecord& record) {
  abandon(job, record,
          {.state = JobState::Expired,
           .code = std::string(domain::error::kDeadlineExceeded),
           .reason = "it was not over within its ttl"});
}

std::uint64_t JobQueue::State::spread(JobId job, const JobRecord& record) const {
  Fnv mixed(seed);
  mixed.step(job.value);
  mixed.step(record.fence);
  return mixed.value() ^ (mixed.value() >> 32);
}

}  // namespace glowplug::control
