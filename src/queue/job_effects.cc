#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"
#include "queue/job_service_state.h"

namespace glowplug::queue {
namespace {

using domain::JobId;
using domain::JobState;
using storage::Need;

// Tokens come by the hundred in a second; the queue need not hear of each.
constexpr Duration kProgressEvery = std::chrono::seconds(1);
constexpr Duration kRewriteAfter = std::chrono::seconds(1);

std::size_t bytes_of(const JobRequest& request) {
  return request.function.size() + request.path.size() + request.body.size() +
         request.domain_salt.size();
}

std::string known_code(const std::string& code) {
  if (code.empty() || domain::error_kind(code).code == code) return code;
  return "other";  // an engine's own
}

// An attempt that became no result is the platform's to pay.
domain::Money spent_on(const std::optional<domain::Receipt>& receipt) {
  return receipt ? domain::Money{receipt->cost.micros + receipt->platform.micros} : domain::Money{};
}

// A request that cannot be read: damaged for good, or the reader has too much to do.
AttemptAnswer unreadable(const Error& error) {
  AttemptAnswer answer;
  const bool busy = error.code == domain::error::kServerIsOverloaded;
  answer.outcome =
      busy ? control::AttemptOutcome::NoCapacity : control::AttemptOutcome::FunctionFailed;
  if (busy) answer.retry_after = std::chrono::seconds(1);
  answer.code = error.code;
  answer.message = error.message;
  return answer;
}

// Who cancels a job pays for what it had; whatever else stops an attempt is the platform's.
policy::Payer payer_of(const control::StopAttempt& stop, const control::JobEffects& effects) {
  for (const control::JobEffect& effect : effects.list) {
    const auto* end = std::get_if<control::SettleJob>(&effect);
    if (end && end->job == stop.job && end->state == JobState::Cancelled)
      return policy::Payer::Caller;
  }
  return policy::Payer::Platform;
}

}  // namespace

// What arrives while another is handled waits its turn.
void JobService::State::post(control::JobEvent event) {
  events.push_back(std::move(event));
  if (handling) return;
  handling = true;
  while (!events.empty()) {
    const control::JobEvent next = std::move(events.front());
    events.pop_front();
    const control::JobEffects effects = queue.handle(next, parts.clock.now());
    queue_wake = effects.wake_at;
    carry_out(effects);
  }
  handling = false;
  schedule();
}

void JobService::State::carry_out(const control::JobEffects& effects) {
  for (const control::JobEffect& effect : effects.list) {
    if (const auto* stopped = std::get_if<control::StopAttempt>(&effect))
      stop(*stopped, payer_of(*stopped, effects));
    else if (const auto* started = std::get_if<control::StartAttempt>(&effect))
      carry_out(*started);
    else if (const auto* requeued = std::get_if<control::RequeueJob>(&effect))
      carry_out(*requeued);
    else
      carry_out(std::get<control::SettleJob>(effect));
  }
}

JobService::State::Attempt* JobService::State::attempt(JobId job, std::uint64_t fence) {
  const auto found = running.find(job);
  return found != running.end() && found->second.fence == fence ? &found->second : nullptr;
}

void JobService::State::carry_out(const control::StartAttempt& effect) {
  ++totals.started;
  running[effect.job] = Attempt{.fence = effect.fence, .began = parts.clock.now()};
  // Should it be lost, only the count of attempts is: its end says the fence too.
  parts.writer.post(
      [effect, now = parts.clock.wall_now(), at = parts.clock.now()](storage::Database& database) {
        return storage::start_job(database, effect, now, at);
      },
      [](const Result<void>&) {}, Need::Must);
  notify(effect.job);
  if (std::optional<JobRequest> request = take_held(effect.job))
    run(effect.job, effect.fence, std::move(*request));
  else
    read_and_run(effect.job, effect.fence);
}

void JobService::State::read_and_run(JobId job, std::uint64_t fence) {
  parts.reader.ask(
      [job](storage::Database& database) { return storage::job_request(database, job); },
      [this, job, fence](Result<std::optional<storage::StoredRequest>> found) {
        if (!attempt(job, fence)) return;  // stopped meanwhile
        if (!found) return attempt_ended(job, fence, unreadable(found.error()));
        if (!*found)
          return attempt_ended(
              job, fence,
              unreadable({std::string(domain::error::kNotFound),
                          fmt::format("{} is not in the state file.", storage::to_text(job)), ""}));
        storage::StoredRequest& stored = **found;
        run(job, fence,
            {.function = std::move(stored.function),
             .path = std::move(stored.path),
             .body = std::move(stored.body),
             .domain_salt = std::move(stored.salt),
             .urgency = stored.urgency});
      });
}

void JobService::State::run(JobId job, std::uint64_t fence, JobRequest request) {
  if (Attempt* one = attempt(job, fence)) one->is_handed = true;
  JobRunner::Heard heard;
  heard.granted = [this, job, fence] {
    if (Attempt* one = attempt(job, fence)) one->granted = parts.clock.now();
    post(control::AttemptGranted{job, fence});
  };
  heard.progressed = [this, job, fence] {
    Attempt* one = attempt(job, fence);
    const Time now = parts.clock.now();
    if (one && now - one->progress_told < kProgressEvery) return;
    if (one) one->progress_told = now;
    post(control::AttemptProgressed{job, fence});
  };
  heard.ended = [this, job, fence](AttemptAnswer answer) {
    attempt_ended(job, fence, std::move(answer));
  };
  heard.stopped = [this, job, fence](std::optional<domain::Receipt> receipt) {
    attempt_stopped(job, fence, std::move(receipt));
  };
  parts.runner.start(job, fence, std::move(request), std::move(heard));
}

void JobService::State::attempt_ended(JobId job, std::uint64_t fence, AttemptAnswer answer) {
  const control::AttemptEnded event{.job = job,
                                    .fence = fence,
                                    .outcome = answer.outcome,
                                    .blamed = answer.blamed,
                                    .retry_after = answer.retry_after};
  if (Attempt* one = attempt(job, fence)) one->answer = std::move(answer);
  post(event);
}

void JobService::State::stop(const control::StopAttempt& effect, policy::Payer payer) {
  const Attempt* one = attempt(effect.job, effect.fence);
  if (one && one->is_handed && !one->answer) stopping[effect.job].insert(effect.fence);
  parts.runner.stop(effect.job, effect.fence, payer);
}

// Its own end takes the receipt with it; where the job goes on it is one more cost of the
// platform's.
void JobService::State::attempt_stopped(JobId job, std::uint64_t fence,
                                        std::optional<domain::Receipt> receipt) {
  const auto waited_for = stopping.find(job);
  if (waited_for == stopping.end() || waited_for->second.erase(fence) == 0) return;
  const auto end = ends_waiting.find(job);
  if (end != ends_waiting.end() && end->second->fence == fence) {
    end->second->receipt = std::move(receipt);
  } else if (const domain::Money spent = spent_on(receipt); spent.micros > 0) {
    parts.writer.post(
        [job, spent](storage::Database& database) {
          return storage::add_platform_cost(database, job, spent);
        },
        [](const Result<void>&) {}, Need::Must);
  }
  if (!waited_for->second.empty()) return;
  stopping.erase(waited_for);
  if (auto last = ends_waiting.extract(job)) write_end(std::move(last.mapped()));
}

void JobService::State::carry_out(const control::RequeueJob& effect) {
  ++totals.requeued;
  control::RequeueJob requeue = effect;
  domain::Money spent;
  if (const Attempt* one = attempt(effect.job, effect.fence)) {
    if (one->answer && !one->answer->message.empty()) requeue.reason = one->answer->message;
    if (one->answer) spent = spent_on(one->answer->receipt);
    running.erase(effect.job);
  }
  parts.writer.post(
      [requeue, spent](storage::Database& database) {
        return storage::requeue_job(database, requeue, spent);
      },
      // Who looks sees the row.
      [this, job = effect.job](const Result<void>&) { notify(job); }, Need::Must);
}

storage::JobEnd JobService::State::end_of(const control::SettleJob& effect) {
  const Time now = parts.clock.now();
  storage::JobEnd end{.job = effect.job,
                      .fence = effect.fence,
                      .state = effect.state,
                      .attempts = effect.attempts,
                      .kills = effect.kills,
                      .dead_lettered = effect.dead_lettered,
                      .code = effect.code,
                      .reason = effect.state == JobState::Completed ? "" : effect.reason,
                      .finished = parts.clock.wall_now(),
                      .kept_until = now + (effect.dead_lettered ? kDeadLetterKept : kResultKept)};
  Attempt* one = attempt(effect.job, effect.fence);
  if (!one) return end;
  const Time granted = one->granted.value_or(now);
  end.work.load = granted - one->began;
  end.work.exec = now - granted;
  if (!one->answer) return end;
  AttemptAnswer& answer = *one->answer;
  end.work.phases = answer.phases;
  end.work.cold = answer.cold;
  end.work.revision = answer.revision;
  end.work.prompt_tokens = answer.prompt_tokens;
  end.work.cached_tokens = answer.cached_tokens;
  end.work.completion_tokens = answer.completion_tokens;
  end.receipt = answer.receipt;
  const bool names_its_own = end.code.empty() && end.state == JobState::Failed;
  if (effect.keeps_answer || names_its_own) {
    if (!answer.code.empty()) end.code = std::move(answer.code);
    if (!answer.message.empty())
      end.reason =
          end.dead_lettered ? effect.reason + ": " + answer.message : std::move(answer.message);
  }
  if (effect.keeps_answer) {
    end.status = answer.status;
    end.result = std::move(answer.body);
  }
  return end;
}

void JobService::State::carry_out(const control::SettleJob& effect) {
  auto end = std::make_shared<storage::JobEnd>(end_of(effect));
  if (attempt(effect.job, effect.fence)) running.erase(effect.job);
  take_held(effect.job);
  settling.try_emplace(effect.job);
  if (stopping.contains(effect.job))
    ends_waiting.emplace(effect.job, std::move(end));
  else
    write_end(std::move(end));
}

// Whether this end or an earlier one stands, the job is over once the write is done.
void JobService::State::write_end(std::shared_ptr<const storage::JobEnd> end) {
  const auto first = std::make_shared<bool>(false);
  parts.writer.post(
      [end, also = on_settle, first](storage::Database& database) -> Result<void> {
        const Result<bool> settled = storage::settle_job(database, *end, *also);
        if (!settled) return settled.error();
        *first = *settled;
        return {};
      },
      [this, end, first](const Result<void>& written) {
        if (!written) {
          if (totals.ends_rewritten++ == 0 && parts.warn)
            parts.warn(fmt::format("the end of {} could not be written and is written again: {}",
                                   storage::to_text(end->job), written.error().message));
          unwritten.push_back(end);
          rewrite_due = parts.clock.now() + kRewriteAfter;
          return schedule();
        }
        if (*first) ++totals.ended[{end->state, known_code(end->code)}];
        ended(*end);
      },
      Need::Must);
}

void JobService::State::ended(const storage::JobEnd& end) {
  auto waiting = settling.extract(end.job);
  notify(end.job);
  if (parts.on_ended) parts.on_ended(end);
  if (waiting.empty()) return;
  for (const std::function<void()>& then : waiting.mapped()) then();
}

void JobService::State::notify(JobId job) {
  const auto [from, to] = watchers.equal_range(job);
  std::vector<std::function<void()>> told;  // who is told may unwatch
  for (auto one = from; one != to; ++one) told.push_back(one->second.changed);
  for (const std::function<void()>& changed : told) changed();
}

void JobService::State::hold(JobId job, JobRequest request) {
  const std::size_t bytes = bytes_of(request);
  if (held_bytes + bytes > kHeldBytesMax) return;
  held_bytes += bytes;
  held.emplace(job.value, std::move(request));
}

std::optional<JobRequest> JobService::State::take_held(JobId job) {
  auto node = held.extract(job.value);
  if (node.empty()) return std::nullopt;
  held_bytes -= bytes_of(node.mapped());
  return std::move(node.mapped());
}

}  // namespace glowplug::queue
