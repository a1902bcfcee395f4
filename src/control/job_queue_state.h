// What the job machine knows, and the steps that its files share. Only they include this.
//
// Where a record's `at` changes, so do the counts of its function and the heap that holds it: that
// happens in make_ready, make_delayed, start and end alone.
//
// Thread: the server loop.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "control/job_heap.h"
#include "control/job_line.h"
#include "control/job_queue.h"
#include "control/job_table.h"
#include "policy/job_window.h"

namespace glowplug::control {

struct JobQueue::State {
  // One that is named in an event, or has jobs. A removed one has no name any more: jobs that come
  // later are of another.
  struct Function {
    explicit Function(std::uint32_t index) : line(index) {}

    std::string name;
    bool sized = false, removed = false;
    bool touched = false;  // may start something in this turn
    policy::JobWindow window;
    JobLine line;
    Time paused_until{};  // nothing starts after a refusal, until then
    std::size_t queued = 0, running = 0;
  };
  struct Attempt {
    std::uint64_t number = 0;  // of its function's window
    bool granted = false;
    Time run_ends = Time::max();
    Time lapses{};  // unless something is heard of it
    Time timer{};   // where it is in the heap: at `lapses`, or before it
  };
  // How an attempt ended: told, or found out.
  struct Ending {
    AttemptOutcome outcome = AttemptOutcome::Answered;
    bool blamed = false;
    std::optional<Duration> retry_after = {};
    bool answered = false;  // there is something to keep
    std::string_view code = {}, reason = {};
  };

  explicit State(std::uint64_t chosen) : seed(chosen) {}
  JobEffects handle(const JobEvent& event, Time at);

  // job_queue.cc
  void on(const JobArrived& event);
  void on(const AttemptGranted& event);
  void on(const AttemptProgressed& event);
  void on(const AttemptEnded& event);
  void on(const JobCancelled& event);
  void on(const FunctionSized& event);
  void on(const FunctionRemoved& event);
  void on(const QueueDrained& event);
  void on(const QueueTick&) {}
  std::uint32_t intern(const std::string& name);
  void retire_unused(std::uint32_t index);
  Attempt* current(domain::JobId job, std::uint64_t fence);  // null, and counted, if it is not

  // job_attempts.cc
  void start(domain::JobId job, JobRecord& record);
  void note_alive(Attempt& attempt, const JobRecord& record);
  void hold_lease(domain::JobId job, Attempt& attempt);
  void finish(domain::JobId job, JobRecord& record, const Ending& ending);
  Duration note_capacity(std::uint32_t function, const Attempt& attempt, const Ending& ending,
                         std::uint64_t spread);
  void stop(domain::JobId job, const JobRecord& record, std::string_view reason);
  void requeue(domain::JobId job, JobRecord& record, Time not_before, std::string_view reason);
  void settle(domain::JobId job, JobRecord& record, SettleJob settled);
  void abandon(domain::JobId job, JobRecord& record, SettleJob settled);
  void fail(domain::JobId job, JobRecord& record, std::string_view code, std::string_view reason);
  void expire(domain::JobId job, JobRecord& record);
  std::uint64_t spread(domain::JobId job, const JobRecord& record) const;

  // job_turn.cc
  void queue(domain::JobId job, JobRecord& record, Time not_before);
  void make_ready(domain::JobId job, JobRecord& record, Time since);
  void leave(domain::JobId job, JobRecord& record);  // whatever it is in; it is Nowhere then
  void touch(std::uint32_t function);
  bool take_due();  // whether more is due
  bool sweep();     // queued jobs of removed functions; whether there may be more
  void expire_due(int& left);
  void lapse_due(int& left);
  void ready_due(int& left);
  void unpause_due(int& left);
  void settle_lease_top();
  void lapse(domain::JobId job, JobRecord& record, const Attempt& attempt);
  void start_ready();
  std::optional<Time> next_wake();
  bool leases(const JobTimer& timer) const;
  bool expires(const JobTimer& timer) const;
  bool delays(const JobTimer& timer) const;
  bool pauses(const JobTimer& timer) const;

  std::uint64_t seed;
  Time now{};
  bool drained = false;
  std::uint64_t fenced = 0;
  JobEffects effects;  // of this turn

  JobTable jobs;
  std::deque<Function> functions;  // stay where they are; those without a name and jobs are free
  std::vector<std::uint32_t> free_functions;
  std::unordered_map<std::string, std::uint32_t> by_name;
  std::unordered_map<std::uint64_t, Attempt> running;
  std::size_t delayed = 0, expiring = 0;  // jobs that are in the heaps below, once each
  JobHeap<JobTimer> delay_heap, expiry_heap;
  JobHeap<JobTimer> lease_heap;  // of attempts; what renews a lease leaves its timer where it is
  JobHeap<JobTimer> pause_heap;  // of functions
  std::vector<std::uint32_t> touched;
  std::vector<std::uint64_t> to_sweep;  // chunks of the table
};

}  // namespace glowplug::control
