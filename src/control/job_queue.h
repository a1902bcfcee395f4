// The state machine of accepted jobs: which runs next, what a failure leads to, when one is over.
//
// handle(event, now) → effects, like the brain; no I/O, clock, thread or randomness. A driver
// (queue/job_service) persists and runs what it is told, and posts what comes of it. The same
// machine meets a modelled disk in simulation.
//
// Attempts are fenced: an event that names another attempt than the one that runs changes nothing,
// and is counted. A running attempt holds a lease that its progress renews; one that lapses is
// stopped, and the job tried again.
//
// Whatever the event, what is due by `now` is done too, and after it: an answer that comes with the
// end of its lease is an answer. One turn does some hundreds of things at most; where more is due
// (a removed function had a million jobs), wake_at is `now`.
//
// `now` and every deadline are of the queue's clock, which goes on over restarts and stands for no
// time of day (queue/queue_clock.h). One that goes back is taken for the latest.
//
// A queued job costs some tens of bytes here, so that a million of them fit: what it asks for stays
// in the store.
//
//   JobArrived ─▶ delayed ─▶ ready ─▶ running ─▶ over        drawn: domain/job.h
//                    ▲        order,     │ lease
//                    └── pause, window ──┘ another attempt
//
// Files: job_queue.cc what events mean, job_attempts.cc how attempts begin and end, job_turn.cc
// what is due; job_table.h, job_line.h and job_heap.h hold; policy/job_{order,retry,window}.h
// decide.
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/time_types.h"
#include "domain/job.h"

namespace glowplug::control {

using domain::AttemptOutcome;

// Whole milliseconds, rounded up, and up to 49 days.
struct JobLimits {
  int attempts_max = 3;                                   // that count; up to 65,535
  Duration load_timeout = std::chrono::minutes(10);       // from its start to its replica's grant
  Duration run_timeout = std::chrono::minutes(10);        // from the grant to the end
  Duration heartbeat_timeout = std::chrono::seconds(60);  // without any progress
};

// As it is stored: a new one, or one that an earlier server has left. One that was in progress is
// told as queued, its attempt counted where its start is on the disk: that server's leases are
// void. One that has no attempt left is settled at once. One that is here already: nothing.
struct JobArrived {
  domain::JobId job;
  std::string function;
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
  Time not_before{};        // a delay, or a pause before another attempt
  Time expires_at{};        // queued and running together: `ttl`; Time{} = never
  int attempts = 0;         // that counted, so far
  int kills = 0;            // replicas that ended while they ran it
  std::uint64_t fence = 0;  // of its last attempt
  JobLimits limits = {};
};
struct AttemptGranted {
  domain::JobId job;
  std::uint64_t fence = 0;
};  // a replica has it: the load is over; a second one, of a continued answer, is progress
struct AttemptProgressed {
  domain::JobId job;
  std::uint64_t fence = 0;
};
struct AttemptEnded {
  domain::JobId job;
  std::uint64_t fence = 0;
  AttemptOutcome outcome = AttemptOutcome::Answered;
  bool blamed = false;
  std::optional<Duration> retry_after = {};  // as the refusal said
};
struct JobCancelled {
  domain::JobId job;
};  // of one that is over or unknown: nothing
// How many attempts of this function may run at once: what its replicas could serve, at most. One
// at a time until it is told, which may be after its jobs have come.
struct FunctionSized {
  std::string function;
  int places_max = 1;
};
struct FunctionRemoved {
  std::string function;
};                       // its queued jobs fail; those that run have no attempt after this one
struct QueueDrained {};  // the server stops: nothing more starts, what runs is handed back
struct QueueTick {};     // the moment named by wake_at has come

using JobEvent =
    std::variant<JobArrived, AttemptGranted, AttemptProgressed, AttemptEnded, JobCancelled,
                 FunctionSized, FunctionRemoved, QueueDrained, QueueTick>;

// To be persisted in this order with everything before it; a start need not wait until it is on the
// disk, what is said to clients of an end must.
struct StartAttempt {
  domain::JobId job;
  // The job's own, rising by 1 over what JobArrived has told. One whose start was lost with its
  // server comes again, so nothing of an earlier server's attempts may be posted to this one.
  std::uint64_t fence = 0;
  int attempts = 0;  // with this one
};
// It is to end; what still comes of it is ignored.
struct StopAttempt {
  domain::JobId job;
  std::uint64_t fence = 0;
  std::string reason;
};
struct RequeueJob {
  domain::JobId job;
  std::uint64_t fence = 0;
  int attempts = 0, kills = 0;
  Time not_before{};
  std::string reason;
};
// Terminal. With `keeps_answer` the result is what attempt `fence` has answered (also an error that
// it has answered), else `reason` and `code` are all there is.
struct SettleJob {
  domain::JobId job = {};
  std::uint64_t fence = 0;
  domain::JobState state = domain::JobState::Completed;
  int attempts = 0, kills = 0;
  bool dead_lettered = false;
  bool keeps_answer = false;
  // Of api/errors.yaml; empty when completed or cancelled, and with `keeps_answer`, whose own
  // counts.
  std::string code = {};
  std::string reason = {};
};

using JobEffect = std::variant<StartAttempt, StopAttempt, RequeueJob, SettleJob>;

struct JobEffects {
  std::vector<JobEffect> list;
  std::optional<Time> wake_at;  // post a QueueTick then: something is due; replaces every earlier
};

struct JobCounts {
  std::size_t queued = 0, running = 0;
};

class JobQueue final {
 public:
  explicit JobQueue(std::uint64_t seed);  // spreads the pauses of jobs that fail together
  ~JobQueue();

  JobEffects handle(const JobEvent& event, Time now);

  JobCounts counts() const;
  JobCounts counts(const std::string& function) const;
  std::optional<domain::JobState> state(domain::JobId job) const;  // none = over, or not known
  std::uint64_t fenced() const;  // events of attempts that did not run any more, since the start
  std::uint64_t steps() const;   // comparisons made to keep the order: what handle() costs

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace glowplug::control
