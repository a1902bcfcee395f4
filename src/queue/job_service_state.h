// What JobService holds and how it turns decisions into writes, reads and runs. Private to the
// job_service files.
//
//   job_service.cc    what callers ask
//   job_effects.cc    what the queue decides: starts, stops, requeues, ends
//   job_upkeep.cc     recovery, timers, retention
//
// A work given to the writer may outlive this object (the writer writes all that it was given), so
// works hold values only.
//
// Thread: the server loop.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "queue/job_service.h"

namespace glowplug::queue {

struct JobService::State {
  // An attempt from its start until the queue has said what comes of it.
  struct Attempt {
    std::uint64_t fence = 0;
    Time began{};
    std::optional<Time> granted;
    Time progress_told{};
    bool is_handed = false;  // to the runner
    std::optional<AttemptAnswer> answer;
  };
  using End = std::shared_ptr<storage::JobEnd>;  // owners: this object, and works
  struct Watcher {
    std::uint64_t id = 0;
    std::function<void()> changed;
  };
  using KeyInHand = std::pair<std::string, std::string>;  // scope, key

  explicit State(Parts parts_in);

  // --- job_effects.cc ---
  void post(control::JobEvent event);
  void carry_out(const control::JobEffects& effects);
  void carry_out(const control::StartAttempt& effect);
  void stop(const control::StopAttempt& effect, policy::Payer payer);
  void carry_out(const control::RequeueJob& effect);
  void carry_out(const control::SettleJob& effect);
  void run(domain::JobId job, std::uint64_t fence, JobRequest request);
  void read_and_run(domain::JobId job, std::uint64_t fence);
  void attempt_ended(domain::JobId job, std::uint64_t fence, AttemptAnswer answer);
  void attempt_stopped(domain::JobId job, std::uint64_t fence,
                       std::optional<domain::Receipt> receipt);
  storage::JobEnd end_of(const control::SettleJob& effect);
  void write_end(std::shared_ptr<const storage::JobEnd> end);
  void ended(const storage::JobEnd& end);
  Attempt* attempt(domain::JobId job, std::uint64_t fence);  // null: it runs no more
  void notify(domain::JobId job);

  // --- job_upkeep.cc ---
  void arrive(control::JobArrived arrived);
  void size(const std::string& function);
  void schedule();
  void upkeep();

  // --- job_service.cc ---
  std::optional<Error> refusal(std::size_t further) const;
  void refused(const Error& error);
  std::optional<Error> take_key(const storage::IdempotencyKey& key);
  void free_key(const std::optional<storage::IdempotencyKey>& key);
  storage::NewJob new_job(Submission submission);
  void accepted(storage::NewJob& job);
  void hold(domain::JobId job, JobRequest request);
  std::optional<JobRequest> take_held(domain::JobId job);
  void after_end(domain::JobId job, std::function<void()> then);
  void overlay(storage::JobView& view) const;

  Parts parts;
  const std::shared_ptr<const storage::OnSettle> on_settle;  // owners: this object, and works
  control::JobQueue queue;
  std::deque<control::JobEvent> events;
  bool handling = false;
  bool draining = false;
  std::uint64_t sequence = 0;
  std::size_t writing = 0;  // submissions that are not on the disk yet

  std::map<domain::JobId, Attempt> running;
  // Attempts that are stopped but not done, and ends that wait for what those have come to.
  std::map<domain::JobId, std::set<std::uint64_t>> stopping;
  std::map<domain::JobId, End> ends_waiting;
  // Ends that are not on the disk yet, and who waits for them to be.
  std::map<domain::JobId, std::vector<std::function<void()>>> settling;
  std::vector<std::shared_ptr<const storage::JobEnd>> unwritten;  // their write has failed
  std::unordered_map<std::uint64_t, JobRequest> held;
  std::size_t held_bytes = 0;
  std::multimap<domain::JobId, Watcher> watchers;
  std::map<std::uint64_t, domain::JobId> watched;
  std::uint64_t watches = 0;
  std::map<KeyInHand, std::string> keys_in_hand;  // with the hash of the body
  std::set<std::string> sized;                    // functions that the queue knows the size of

  std::optional<Time> queue_wake, rewrite_due;
  Time upkeep_due{};
  std::optional<Time> scheduled;
  JobTotals totals;
};

}  // namespace glowplug::queue
