// The durable queue: accepts jobs, carries out what control::JobQueue decides, and tells their
// ends.
//
//   submit ──▶ writer: row, fsync ──▶ `done` (202) ──▶ JobQueue ──▶ StartAttempt ──▶ JobRunner
//                                                         ▲                            │
//                      writer: end, fsync ◀── SettleJob ──┴──── granted, ended ◀───────┘
//                              └──▶ watchers
//
// It decides nothing of when a job runs or whether it is tried again. It never says what is not on
// the disk: neither that a job is accepted nor that it is over. Ends that cannot be written are
// written again until they are.
//
// Requests stay in the store; those accepted last are also held in memory, up to kHeldBytesMax, so
// that a short queue reads nothing back.
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/job_queue.h"
#include "domain/limits.h"
#include "queue/job_runner.h"
#include "queue/queue_clock.h"
#include "storage/idempotency_store.h"
#include "storage/job_store.h"
#include "storage/read_loop.h"
#include "storage/write_loop.h"

namespace glowplug::queue {

inline constexpr std::size_t kHeldBytesMax = 4U << 20;  // of requests held in memory
inline constexpr Duration kResultKept = std::chrono::hours(24);
inline constexpr Duration kDeadLetterKept = std::chrono::hours(14 * 24);

struct SubmitOptions {
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
  Duration delay{};
  storage::JobTerms terms;
  std::int64_t batch = 0, batch_line = 0;
  std::string webhook, request_id, traceparent;
  std::optional<storage::IdempotencyKey> key;
};
struct Submission {
  JobRequest request;
  SubmitOptions options;
  bool checked = false;  // JobRunner::check would say yes, as its route has found already
};
// What a submission became. `kept` is set where its key was known: then nothing new was accepted.
struct Accepted {
  domain::JobId job{};
  std::optional<storage::KeptAnswer> kept;
};

// Since this server began. At every moment accepted + found + retried = those that are not over +
// ended.
struct JobTotals {
  std::uint64_t accepted = 0, found = 0, retried = 0;  // found: an earlier server had left them
  std::uint64_t started = 0, requeued = 0, replayed = 0, ends_rewritten = 0;
  std::map<std::string, std::uint64_t> refused;                             // by code
  std::map<std::pair<domain::JobState, std::string>, std::uint64_t> ended;  // and code
};

class JobService final {
 public:
  struct Parts {
    storage::WriteLoop& writer;
    storage::ReadLoop& reader;
    JobRunner& runner;
    QueueClock& clock;
    // Attempts of a function that may run at once; none = there is no such function.
    std::function<std::optional<int>(const std::string& function)> places_of;
    std::function<void(Duration)> wake_in;  // calls tick() then; replaces every earlier wish
    std::uint64_t seed = 0;                 // spreads the pauses of jobs that fail together
    storage::OnSettle on_settle = {};       // in the transaction of each end
    std::function<void(const storage::JobEnd&)> on_ended = {};  // of each end that is on the disk
    std::function<void(const std::string&)> warn = {};          // of what an operator should know
    std::size_t jobs_max = domain::kJobsQueuedMax;              // that are not over
  };
  explicit JobService(Parts parts);
  ~JobService();

  // Takes up what an earlier server left, and lets it run.
  Result<void> recover();

  // `done` once it is on the disk, or with the error of a caller: those of JobRunner::check,
  // idempotency_in_progress, idempotency_key_reused, queue_full, disk_full, storage_failed,
  // shutting_down.
  void submit(Submission submission, std::function<void(Result<Accepted>)> done);
  // All or none, with `with` in the same transaction (a batch's own rows). Nothing is checked but
  // that there is room, and keys are not looked at.
  void submit_all(std::vector<Submission> submissions, storage::WriteLoop::Work with,
                  std::function<void(Result<std::vector<domain::JobId>>)> done);

  using Viewed = std::function<void(Result<storage::JobView>)>;
  // Error not_found also where it was deleted.
  void view(domain::JobId job, Viewed done);
  // What it was accepted with.
  void request(domain::JobId job, std::function<void(Result<storage::StoredRequest>)> done);
  void list(storage::JobFilter filter,
            std::function<void(Result<std::vector<storage::JobView>>)> done);

  void cancel(domain::JobId job, Viewed done);  // in every state; the state that it ended in
  void retry(domain::JobId job, Viewed done);   // error job_conflict where it may not
  void remove(domain::JobId job, std::function<void(Result<void>)> done);
  // How many dead letters are queued anew.
  void redrive_all(std::function<void(Result<std::size_t>)> done);

  // Called on each change of the job's state, an end's only once it is on the disk. Look with
  // view().
  std::uint64_t watch(domain::JobId job, std::function<void()> changed);
  void unwatch(std::uint64_t watch);

  // A call that is answered at once and has a key. begin_keyed: what the key stands for, or nothing
  // if it is the caller's to carry out; then end_keyed must follow. Without an answer nothing is
  // kept, and the key is free again.
  void begin_keyed(storage::IdempotencyKey key,
                   std::function<void(Result<std::optional<storage::KeptAnswer>>)> done);
  void end_keyed(const storage::IdempotencyKey& key, std::optional<storage::KeptAnswer> answer,
                 std::function<void()> done);

  void function_changed(const std::string& function);  // deployed, or removed
  void drain();                                        // nothing more starts or is accepted
  void tick();

  control::JobCounts counts() const;  // one whose end is being written runs
  const JobTotals& totals() const;
  std::uint64_t fenced() const;  // events of attempts that did not run any more
  storage::WriteCounts writes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// How long a caller may wait before it tries again, after these errors.
int retry_after_s(const Error& error);

}  // namespace glowplug::queue
