#include "queue/job_service.h"

#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"
#include "queue/job_service_state.h"

namespace glowplug::queue {
namespace {

namespace error = domain::error;
using domain::JobId;
using storage::JobView;
using storage::KeptAnswer;
using storage::Need;

constexpr int kRedrivenAtOnce = 500;

Error no_job(JobId job) {
  return Error{std::string(error::kNotFound),
               fmt::format("There is no {}; results are kept for a day.", storage::to_text(job)),
               "id"};
}

}  // namespace

int retry_after_s(const Error& error) {
  if (!domain::error_kind(error.code).retry) return 0;
  if (error.code == error::kDiskFull) return 10;
  if (error.code == error::kStorageFailed || error.code == error::kQueueFull) return 5;
  return 1;
}

JobService::State::State(Parts parts_in)
    : parts(std::move(parts_in)),
      on_settle(std::make_shared<const storage::OnSettle>(std::move(parts.on_settle))),
      queue(parts.seed) {}

JobService::JobService(Parts parts) : state_(std::make_unique<State>(std::move(parts))) {}
JobService::~JobService() = default;

control::JobCounts JobService::counts() const {
  control::JobCounts counts = state_->queue.counts();
  counts.running += state_->settling.size();
  return counts;
}
std::uint64_t JobService::fenced() const { return state_->queue.fenced(); }
const JobTotals& JobService::totals() const { return state_->totals; }
storage::WriteCounts JobService::writes() const { return state_->parts.writer.counts(); }

// --- accepting ---

std::optional<Error> JobService::State::refusal(std::size_t further) const {
  if (draining)
    return Error{std::string(error::kShuttingDown),
                 "The server is shutting down; try again in a moment.", ""};
  const control::JobCounts held_now = queue.counts();
  if (held_now.queued + held_now.running + writing + further <= parts.jobs_max) return std::nullopt;
  return Error{std::string(error::kQueueFull),
               fmt::format("{} jobs are not over yet, as many as may be.", parts.jobs_max), ""};
}

void JobService::State::refused(const Error& error) { ++totals.refused[error.code]; }

std::optional<Error> JobService::State::take_key(const storage::IdempotencyKey& key) {
  const auto [found, is_new] = keys_in_hand.try_emplace({key.scope, key.key}, key.body_hash);
  if (is_new) return std::nullopt;
  if (found->second != key.body_hash)
    return Error{std::string(error::kIdempotencyKeyReused),
                 fmt::format("Idempotency-Key `{}` was sent with another body; a new request needs "
                             "a new key.",
                             key.key),
                 "Idempotency-Key"};
  return Error{std::string(error::kIdempotencyInProgress),
               fmt::format("The first request with Idempotency-Key `{}` is still being carried "
                           "out; ask again in a moment.",
                           key.key),
               "Idempotency-Key"};
}

void JobService::State::free_key(const std::optional<storage::IdempotencyKey>& key) {
  if (key) keys_in_hand.erase({key->scope, key->key});
}

storage::NewJob JobService::State::new_job(Submission submission) {
  const Time now = parts.clock.now();
  SubmitOptions& options = submission.options;
  JobRequest& request = submission.request;
  return {.id = storage::job_id(parts.clock.epoch(), ++sequence),
          .function = std::move(request.function),
          .path = std::move(request.path),
          .body = std::move(request.body),
          .salt = std::move(request.domain_salt),
          .urgency = options.urgency,
          .created = parts.clock.wall_now(),
          .not_before = now + options.delay,
          .expires_at = now + options.terms.ttl,
          .terms = options.terms,
          .batch = options.batch,
          .batch_line = options.batch_line,
          .webhook = std::move(options.webhook),
          .request_id = std::move(options.request_id),
          .traceparent = std::move(options.traceparent)};
}

// It is on the disk: what is in memory of it is the queue's, and its request while there is room.
void JobService::State::accepted(storage::NewJob& job) {
  ++totals.accepted;
  control::JobArrived arrived{.job = job.id,
                              .function = job.function,
                              .urgency = job.urgency,
                              .not_before = job.not_before,
                              .expires_at = job.expires_at,
                              .limits = job.terms.limits};
  if (job.not_before <= parts.clock.now())
    hold(job.id, {.function = std::move(job.function),
                  .path = std::move(job.path),
                  .body = std::move(job.body),
                  .domain_salt = std::move(job.salt),
                  .urgency = job.urgency});
  arrive(std::move(arrived));
}

void JobService::submit(Submission submission, std::function<void(Result<Accepted>)> done) {
  State& state = *state_;
  std::optional<Error> refusal = state.refusal(1);
  if (!refusal && !submission.checked)
    if (Result<void> checked = state.parts.runner.check(submission.request); !checked)
      refusal = checked.error();
  const std::optional<storage::IdempotencyKey> key = submission.options.key;
  if (!refusal && key) refusal = state.take_key(*key);
  if (refusal) {
    state.refused(*refusal);
    return done(std::move(*refusal));
  }
  ++state.writing;
  const auto job = std::make_shared<storage::NewJob>(state.new_job(std::move(submission)));
  const auto kept = std::make_shared<std::optional<KeptAnswer>>();
  state.parts.writer.post(
      [job, key, kept, now = state.parts.clock.now()](storage::Database& database) -> Result<void> {
        if (key) {
          Result<std::optional<KeptAnswer>> found = storage::find_key(database, *key, now);
          if (!found) return found.error();
          *kept = std::move(*found);
          if (*kept) return {};
          const Result<void> noted = storage::keep_key(database, *key, {.job = job->id}, now);
          if (!noted) return noted;
        }
        return storage::insert_job(database, *job);
      },
      [&state, job, key, kept, done = std::move(done)](const Result<void>& written) {
        --state.writing;
        state.free_key(key);
        if (!written) {
          state.refused(written.error());
          return done(written.error());
        }
        if (*kept) {
          ++state.totals.replayed;
          return done(Accepted{.job = (*kept)->job, .kept = std::move(*kept)});
        }
        const JobId id = job->id;
        state.accepted(*job);
        done(Accepted{.job = id});
      },
      Need::May);
}

void JobService::submit_all(std::vector<Submission> submissions, storage::WriteLoop::Work with,
                            std::function<void(Result<std::vector<JobId>>)> done) {
  State& state = *state_;
  if (std::optional<Error> refusal = state.refusal(submissions.size())) {
    state.refused(*refusal);
    return done(std::move(*refusal));
  }
  state.writing += submissions.size();
  const auto jobs = std::make_shared<std::vector<storage::NewJob>>();
  for (Submission& one : submissions) jobs->push_back(state.new_job(std::move(one)));
  state.parts.writer.post(
      [jobs, with = std::move(with)](storage::Database& database) -> Result<void> {
        for (const storage::NewJob& job : *jobs)
          if (Result<void> inserted = storage::insert_job(database, job); !inserted)
            return inserted;
        return with ? with(database) : Result<void>();
      },
      [&state, jobs, done = std::move(done)](const Result<void>& written) {
        state.writing -= jobs->size();
        if (!written) {
          state.refused(written.error());
          return done(written.error());
        }
        std::vector<JobId> ids;
        for (storage::NewJob& job : *jobs) {
          ids.push_back(job.id);
          state.accepted(job);
        }
        done(std::move(ids));
      },
      Need::May);
}

// --- looking ---

// A start or a requeue is told before its row is on the disk; an end is not.
void JobService::State::overlay(JobView& view) const {
  if (is_terminal(view.state)) return;
  const auto found = running.find(view.id);
  if (found == running.end()) return;
  view.state = domain::JobState::InProgress;
  view.fence = found->second.fence;
}

void JobService::view(JobId job, Viewed done) {
  state_->parts.reader.ask(
      [job](storage::Database& database) { return storage::find_job(database, job); },
      [&state = *state_, job, done = std::move(done)](Result<std::optional<JobView>> found) {
        if (!found) return done(found.error());
        if (!*found) return done(no_job(job));
        state.overlay(**found);
        done(std::move(**found));
      });
}

void JobService::request(JobId job, std::function<void(Result<storage::StoredRequest>)> done) {
  state_->parts.reader.ask(
      [job](storage::Database& database) { return storage::job_request(database, job); },
      [job, done = std::move(done)](Result<std::optional<storage::StoredRequest>> found) {
        if (!found) return done(found.error());
        if (!*found) return done(no_job(job));
        done(std::move(**found));
      });
}

void JobService::list(storage::JobFilter filter,
                      std::function<void(Result<std::vector<JobView>>)> done) {
  state_->parts.reader.ask(
      [filter = std::move(filter)](storage::Database& database) {
        return storage::list_jobs(database, filter);
      },
      [&state = *state_, done = std::move(done)](Result<std::vector<JobView>> found) {
        if (!found) return done(found.error());
        for (JobView& view : *found) state.overlay(view);
        done(std::move(*found));
      });
}

std::uint64_t JobService::watch(JobId job, std::function<void()> changed) {
  const std::uint64_t id = ++state_->watches;
  state_->watchers.emplace(job, State::Watcher{id, std::move(changed)});
  state_->watched.emplace(id, job);
  return id;
}

void JobService::unwatch(std::uint64_t watch) {
  const auto found = state_->watched.find(watch);
  if (found == state_->watched.end()) return;
  const auto [from, to] = state_->watchers.equal_range(found->second);
  for (auto one = from; one != to; ++one) {
    if (one->second.id != watch) continue;
    state_->watchers.erase(one);
    break;
  }
  state_->watched.erase(found);
}

// --- changing ---

// At once, unless the job's end is being written just now.
void JobService::State::after_end(JobId job, std::function<void()> then) {
  const auto found = settling.find(job);
  if (found == settling.end()) return then();
  found->second.push_back(std::move(then));
}

void JobService::cancel(JobId job, Viewed done) {
  if (state_->queue.state(job)) state_->post(control::JobCancelled{job});
  state_->after_end(job, [this, job, done = std::move(done)] { view(job, done); });
}

void JobService::retry(JobId job, Viewed done) {
  State& state = *state_;
  if (std::optional<Error> refusal = state.refusal(1)) return done(std::move(*refusal));
  const auto arrived = std::make_shared<std::optional<control::JobArrived>>();
  state.parts.writer.post(
      [job, arrived, now = state.parts.clock.now()](storage::Database& database) -> Result<void> {
        Result<std::optional<control::JobArrived>> anew = storage::retry_job(database, job, now);
        if (!anew) return anew.error();
        *arrived = std::move(*anew);
        return {};
      },
      [this, job, arrived, done = std::move(done)](const Result<void>& written) {
        if (!written) return done(written.error());
        if (*arrived) {
          ++state_->totals.retried;
          state_->arrive(std::move(**arrived));
          state_->notify(job);
          return view(job, done);
        }
        view(job, [job, done](Result<JobView> found) {
          if (!found) return done(found.error());
          done(Error{std::string(error::kJobConflict),
                     found->batch != 0
                         ? fmt::format("{} belongs to a batch; send its line in a new one.",
                                       storage::to_text(job))
                         : fmt::format("{} is {}; only failed and expired jobs are tried again.",
                                       storage::to_text(job), to_string(found->state)),
                     "id"});
        });
      },
      Need::May);
}

void JobService::remove(JobId job, std::function<void(Result<void>)> done) {
  const auto removed = std::make_shared<bool>(false);
  state_->parts.writer.post(
      [job, removed](storage::Database& database) -> Result<void> {
        const Result<bool> gone = storage::delete_job(database, job);
        if (!gone) return gone.error();
        *removed = *gone;
        return {};
      },
      [this, job, removed, done = std::move(done)](const Result<void>& written) {
        if (!written) return done(written.error());
        if (*removed) {
          state_->notify(job);
          return done({});
        }
        view(job, [job, done](const Result<JobView>& found) {
          if (!found) return done(found.error());
          done(Error{std::string(error::kJobConflict),
                     fmt::format("{} is {}; cancel it first.", storage::to_text(job),
                                 to_string(found->state)),
                     "id"});
        });
      },
      Need::Must);
}

// A few hundred in a transaction, so that no commit waits long for it.
void JobService::redrive_all(std::function<void(Result<std::size_t>)> done) {
  struct Redrive {
    std::size_t count = 0;
    std::function<void(Result<std::size_t>)> done;
  };
  const auto whole = std::make_shared<Redrive>(Redrive{.done = std::move(done)});
  const auto step = std::make_shared<std::function<void()>>();
  *step = [this, whole, again = std::weak_ptr(step)] {
    if (std::optional<Error> refusal = state_->refusal(kRedrivenAtOnce))
      return whole->done(std::move(*refusal));
    const auto arrived = std::make_shared<std::vector<control::JobArrived>>();
    state_->parts.writer.post(
        [arrived, now = state_->parts.clock.now()](storage::Database& database) -> Result<void> {
          auto list = storage::redrive_jobs(database, now, kRedrivenAtOnce);
          if (!list) return list.error();
          *arrived = std::move(*list);
          return {};
        },
        // Owner of the next step: this callback.
        [this, whole, arrived, next = again.lock()](const Result<void>& written) {
          if (!written) return whole->done(written.error());
          whole->count += arrived->size();
          state_->totals.retried += arrived->size();
          for (control::JobArrived& one : *arrived) {
            const JobId job = one.job;
            state_->arrive(std::move(one));
            state_->notify(job);
          }
          if (arrived->size() < kRedrivenAtOnce) return whole->done(whole->count);
          (*next)();
        },
        Need::May);
  };
  (*step)();
}

// --- keys of calls that are answered at once ---

void JobService::begin_keyed(storage::IdempotencyKey key,
                             std::function<void(Result<std::optional<KeptAnswer>>)> done) {
  State& state = *state_;
  // Its answer could not be kept, and a repeat would be answered anew.
  if (state.parts.writer.counts().disk_full)
    return done(storage::no_room(state.parts.writer.path()));
  if (std::optional<Error> refusal = state.take_key(key)) return done(std::move(*refusal));
  state.parts.reader.ask(
      [key, now = state.parts.clock.now()](storage::Database& database) {
        return storage::find_key(database, key, now);
      },
      [&state, key, done = std::move(done)](Result<std::optional<KeptAnswer>> kept) {
        if (!kept || *kept) state.free_key(key);
        if (kept && *kept) ++state.totals.replayed;
        done(std::move(kept));
      });
}

void JobService::end_keyed(const storage::IdempotencyKey& key, std::optional<KeptAnswer> answer,
                           std::function<void()> done) {
  State& state = *state_;
  if (!answer) {
    state.free_key(key);
    return done();
  }
  state.parts.writer.post(
      [key, answer = std::move(*answer), now = state.parts.clock.now()](
          storage::Database& database) { return storage::keep_key(database, key, answer, now); },
      [&state, key, done = std::move(done)](const Result<void>&) {
        state.free_key(key);
        done();
      },
      Need::May);
}

}  // namespace glowplug::queue
