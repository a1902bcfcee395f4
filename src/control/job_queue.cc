#include "control/job_queue.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "control/job_queue_state.h"
#include "domain/errors.h"
#include "policy/job_retry.h"

namespace glowplug::control {

using domain::JobId;
using domain::JobState;
using domain::JobUrgency;

namespace {

std::uint32_t whole_ms(Duration duration) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(ms, 1, std::numeric_limits<std::uint32_t>::max()));
}

template <typename Small>
Small clamped(int value, int least) {
  return static_cast<Small>(
      std::clamp<int>(value, least, static_cast<int>(std::numeric_limits<Small>::max())));
}

JobRecord recorded(const JobArrived& event) {
  JobRecord record;
  record.at = JobRecord::At::Delayed;
  record.expires_at = event.expires_at == Time{} ? Time::max() : event.expires_at;
  record.fence = event.fence;
  record.load_ms = whole_ms(event.limits.load_timeout);
  record.run_ms = whole_ms(event.limits.run_timeout);
  record.heartbeat_ms = whole_ms(event.limits.heartbeat_timeout);
  record.attempts = clamped<std::uint16_t>(event.attempts, 0);
  record.attempts_max = clamped<std::uint16_t>(event.limits.attempts_max, 1);
  record.kills = clamped<std::uint8_t>(event.kills, 0);
  record.batch = event.urgency == JobUrgency::Batch;
  return record;
}

}  // namespace

JobQueue::JobQueue(std::uint64_t seed) : state_(std::make_unique<State>(seed)) {}
JobQueue::~JobQueue() = default;

JobEffects JobQueue::handle(const JobEvent& event, Time now) { return state_->handle(event, now); }

JobCounts JobQueue::counts() const {
  return {state_->jobs.size() - state_->running.size(), state_->running.size()};
}

JobCounts JobQueue::counts(const std::string& function) const {
  const auto found = state_->by_name.find(function);
  if (found == state_->by_name.end()) return {};
  const State::Function& counted = state_->functions[found->second];
  return {counted.queued, counted.running};
}

std::optional<JobState> JobQueue::state(JobId job) const {
  const JobRecord* record = std::as_const(state_->jobs).find(job);
  if (record == nullptr) return {};
  return record->at == JobRecord::At::Running ? JobState::InProgress : JobState::Queued;
}

std::uint64_t JobQueue::fenced() const { return state_->fenced; }

std::uint64_t JobQueue::steps() const {
  std::uint64_t steps = state_->delay_heap.steps() + state_->expiry_heap.steps() +
                        state_->lease_heap.steps() + state_->pause_heap.steps();
  for (const State::Function& function : state_->functions) steps += function.line.steps();
  return steps;
}

JobEffects JobQueue::State::handle(const JobEvent& event, Time at) {
  now = std::max(now, at);
  std::visit([this](const auto& told) { on(told); }, event);
  const bool more_due = take_due();
  const bool more = sweep() || more_due;
  if (!more_due) start_ready();  // nothing starts that may be over
  effects.wake_at = more ? now : next_wake();
  return std::exchange(effects, {});
}

void JobQueue::State::on(const JobArrived& event) {
  if (jobs.find(event.job) != nullptr) return;
  const std::uint32_t function = intern(event.function);
  JobRecord& record = jobs.add(event.job);
  record = recorded(event);
  record.function = function;
  ++functions[function].queued;
  ++delayed;
  if (record.expires_at != Time::max()) {
    ++expiring;
    expiry_heap.push({record.expires_at, event.job.value});
  }
  if (policy::is_used_up({record.attempts, record.attempts_max, record.kills})) {
    return settle(event.job, record,
                  {.state = JobState::Failed,
                   .dead_lettered = true,
                   .code = std::string(domain::error::kServerError),
                   .reason = "the server ended while the last of its attempts ran"});
  }
  queue(event.job, record, event.not_before);
}

void JobQueue::State::on(const AttemptGranted& event) {
  Attempt* attempt = current(event.job, event.fence);
  if (attempt == nullptr) return;
  const JobRecord& record = *jobs.find(event.job);
  if (!attempt->granted) attempt->run_ends = now + std::chrono::milliseconds(record.run_ms);
  attempt->granted = true;
  note_alive(*attempt, record);
  hold_lease(event.job, *attempt);  // shorter than that of a load
}

void JobQueue::State::on(const AttemptProgressed& event) {
  Attempt* attempt = current(event.job, event.fence);
  // A load has its time whatever it is heard to do.
  if (attempt != nullptr && attempt->granted) note_alive(*attempt, *jobs.find(event.job));
}

void JobQueue::State::on(const AttemptEnded& event) {
  if (current(event.job, event.fence) == nullptr) return;
  finish(event.job, *jobs.find(event.job),
         {.outcome = event.outcome,
          .blamed = event.blamed,
          .retry_after = event.retry_after,
          .answered = true});
}

void JobQueue::State::on(const JobCancelled& event) {
  JobRecord* record = jobs.find(event.job);
  if (record == nullptr) return;
  abandon(event.job, *record, {.state = JobState::Cancelled, .reason = "cancelled"});
}

void JobQueue::State::on(const FunctionSized& event) {
  const std::uint32_t index = intern(event.function);
  functions[index].sized = true;
  functions[index].paused_until = {};  // what was deployed anew may start again
  functions[index].window.resize(event.places_max);
  touch(index);
}

void JobQueue::State::on(const FunctionRemoved& event) {
  const auto found = by_name.find(event.function);
  if (found == by_name.end()) return;
  const std::uint32_t index = found->second;
  functions[index].removed = true;
  functions[index].line.clear();
  by_name.erase(found);
  if (functions[index].queued > 0) to_sweep = jobs.chunks();
  retire_unused(index);
}

void JobQueue::State::on(const QueueDrained&) {
  drained = true;
  std::vector<std::uint64_t> held;
  for (const auto& [job, attempt] : running) held.push_back(job);
  std::sort(held.begin(), held.end());
  for (const std::uint64_t job : held) {
    JobRecord& record = *jobs.find({job});
    stop({job}, record, "the server stops");
    requeue({job}, record, now, "the server stops");
  }
}

std::uint32_t JobQueue::State::intern(const std::string& name) {
  const auto found = by_name.find(name);
  if (found != by_name.end()) return found->second;
  std::uint32_t index = static_cast<std::uint32_t>(functions.size());
  if (free_functions.empty()) {
    functions.emplace_back(index);
  } else {
    index = free_functions.back();
    free_functions.pop_back();
  }
  functions[index].name = name;
  by_name.emplace(name, index);
  return index;
}

// One that is neither sized nor has jobs is forgotten.
void JobQueue::State::retire_unused(std::uint32_t index) {
  Function& function = functions[index];
  if (function.queued + function.running > 0 || (function.sized && !function.removed)) return;
  if (!function.removed) by_name.erase(function.name);
  const bool listed = function.touched;
  function = Function(index);
  function.touched = listed;
  free_functions.push_back(index);
}

JobQueue::State::Attempt* JobQueue::State::current(JobId job, std::uint64_t fence) {
  const auto found = running.find(job.value);
  if (found != running.end() && jobs.find(job)->fence == fence) return &found->second;
  ++fenced;
  return nullptr;
}

}  // namespace glowplug::control
