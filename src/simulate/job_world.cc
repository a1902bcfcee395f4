#include "simulate/job_world.h"

#include <algorithm>
#include <array>
#include <queue>
#include <tuple>
#include <utility>
#include <vector>

#include "simulate/job_checker.h"
#include "simulate/job_disk.h"
#include "simulate/random.h"

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;
using control::AttemptOutcome;
using domain::JobId;
using domain::JobUrgency;

class QueueMachine final : public JobMachine {
 public:
  explicit QueueMachine(std::uint64_t seed) : queue_(seed) {}
  control::JobEffects handle(const control::JobEvent& event, Time now) override {
    return queue_.handle(event, now);
  }

 private:
  control::JobQueue queue_;
};

constexpr std::array kFunctions{"a", "b", "c"};
constexpr Duration kTrouble = 15min;       // that long
constexpr Duration kAllOver = 90min;       // after it at most: every run and pause, one by one
constexpr int kWritesBetweenCrashes = 40;  // at most

enum class Step { Submit, Cancel, Sync, Crash, Restart, Drain, Tick, Run, Late, Resize, Remove };
struct Action {
  Time at{};
  std::uint64_t order = 0;
  Step step{};
  JobId job = {};
  std::uint64_t fence = 0;
  int life = 0;                                // of the server that it was meant for
  bool operator<(const Action& other) const {  // the earliest is on top
    return std::tie(other.at, other.order) < std::tie(at, order);
  }
};

// An attempt, as its replica plays it.
struct Run {
  AttemptOutcome outcome = AttemptOutcome::Answered;
  bool silent = false;  // comes to no end by itself
  bool granted = false, blamed = false;
  int progress_left = 0;
};

class JobWorld final {
 public:
  JobWorld(const JobWorldOptions& options, const MakeJobMachine& make);
  JobWorldResult play();

 private:
  void act(const Action& action);
  void submit();
  void cancel();
  void sync();
  void crash(std::size_t kept);
  void restart();
  void drain();
  void resize();
  void remove();
  void run_on(const Action& action);

  void post(const control::JobEvent& event);
  void carry_out(const control::StartAttempt& start);
  void carry_out(const control::StopAttempt& stop);
  void carry_out(const control::RequeueJob& back);
  void carry_out(const control::SettleJob& end);
  void write(JobWrite write);
  void plan(Step step, Duration in, JobId job = {}, std::uint64_t fence = 0) {
    agenda_.push({now_ + in, ++planned_, step, job, fence, life_});
  }
  Duration within(Duration most) {
    return Duration{static_cast<std::int64_t>(random_.unit() * static_cast<double>(most.count()))};
  }
  bool trouble() const { return now_ - Time{} < kTrouble; }
  Run drawn_run(JobId job);

  JobWorldOptions options_;
  MakeJobMachine make_;
  Random random_;
  Time now_{1s};
  std::priority_queue<Action> agenda_;
  std::uint64_t planned_ = 0;
  int life_ = 0;                         // counts servers
  std::unique_ptr<JobMachine> machine_;  // null while the server is down
  std::optional<Time> wake_;
  bool draining_ = false, sync_planned_ = false;
  int writes_to_crash_ = 0;
  bool crash_now_ = false;

  JobDisk disk_;
  JobChecker checker_;
  JobWorldResult result_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, Run> runs_;
  std::uint64_t latest_job_ = 0;
  int submitted_ = 0;
};

JobWorld::JobWorld(const JobWorldOptions& options, const MakeJobMachine& make)
    : options_(options), make_(make), random_(options.seed) {}

JobWorldResult JobWorld::play() {
  restart();
  for (int i = 0; i < options_.jobs; ++i) plan(Step::Submit, within(kTrouble * 3 / 4));
  for (int i = random_.between(0, options_.jobs / 4); i > 0; --i)
    plan(Step::Cancel, within(kTrouble));
  for (int i = random_.between(0, 3); i > 0; --i) plan(Step::Resize, within(kTrouble));
  if (random_.chance(0.2)) plan(Step::Remove, within(kTrouble));
  if (random_.chance(0.3)) plan(Step::Drain, within(kTrouble));
  if (random_.chance(0.5)) plan(Step::Crash, within(kTrouble));
  while (!agenda_.empty() && !checker_.violation()) {
    const Action action = agenda_.top();
    agenda_.pop();
    if (action.at > Time{kTrouble + kAllOver}) break;
    now_ = std::max(now_, action.at);
    act(action);
  }
  checker_.all_over(disk_.rows());
  for (const auto& [job, row] : disk_.rows()) {
    ++result_.ends[row.state];
    result_.dead_letters += row.settled.dead_lettered ? 1 : 0;
  }
  result_.violation = checker_.violation();
  return result_;
}

void JobWorld::act(const Action& action) {
  switch (action.step) {
    case Step::Submit: submit(); break;
    case Step::Cancel: cancel(); break;
    case Step::Sync: sync(); break;
    case Step::Restart: restart(); break;
    case Step::Drain: drain(); break;
    case Step::Resize: resize(); break;
    case Step::Remove: remove(); break;
    case Step::Crash: crash_now_ = machine_ != nullptr; break;
    case Step::Tick:
      if (action.life != life_ || action.at != wake_) break;
      wake_.reset();
      post(control::QueueTick{});
      break;
    case Step::Run: run_on(action); break;
    case Step::Late:
      if (action.life == life_ && machine_) {
        ++result_.fenced;
        post(control::AttemptEnded{action.job, action.fence, AttemptOutcome::Answered});
      }
      break;
  }
  if (crash_now_) crash(static_cast<std::size_t>(random_.below(disk_.unsynced() + 1)));
}

// --- clients ---

void JobWorld::submit() {
  if (!machine_ || draining_) {  // refused; the client comes back
    if (trouble()) plan(Step::Submit, 1s + within(10s));
    return;
  }
  // Numbers of writes that a crash has lost are given again.
  latest_job_ = std::max(latest_job_, disk_.rows().empty() ? 0 : disk_.rows().rbegin()->first) + 1;
  ++submitted_;
  control::JobArrived job{.job = {latest_job_},
                          .function = kFunctions[random_.below(kFunctions.size())]};
  if (random_.chance(0.4)) job.urgency = JobUrgency::Batch;
  if (random_.chance(0.2)) job.not_before = now_ + within(3min);
  if (random_.chance(0.3)) job.expires_at = now_ + 10s + within(10min);
  job.limits = {.attempts_max = random_.between(1, 5),
                .load_timeout = 20s + within(60s),
                .run_timeout = 60s + within(60s),
                .heartbeat_timeout = 15s + within(15s)};
  write(std::move(job));
}

void JobWorld::cancel() {
  if (machine_ && latest_job_ > 0) post(control::JobCancelled{{1 + random_.below(latest_job_)}});
}

// --- the driver ---

void JobWorld::write(JobWrite write) {
  disk_.write(std::move(write));
  if (!std::exchange(sync_planned_, true)) plan(Step::Sync, 1ms + within(50ms));
  if (trouble() && result_.crashes < options_.crashes && --writes_to_crash_ <= 0) crash_now_ = true;
}

void JobWorld::sync() {
  if (!machine_) return;
  sync_planned_ = false;
  for (const JobWrite& safe : disk_.sync()) {
    if (const auto* accepted = std::get_if<control::JobArrived>(&safe)) {
      checker_.accepted(accepted->job);
      ++result_.accepted;
      checker_.arrived(*accepted, now_);
      post(*accepted);
    } else if (const auto* end = std::get_if<control::SettleJob>(&safe)) {
      checker_.read(disk_.rows().at(end->job.value), now_);
    }
    if (crash_now_) return;
  }
}

void JobWorld::crash(std::size_t kept) {
  crash_now_ = false;
  disk_.crash(kept);
  machine_.reset();
  runs_.clear();
  wake_.reset();
  sync_planned_ = draining_ = false;
  latest_job_ = 0;
  checker_.crashed();
  ++life_;
  ++result_.crashes;
  plan(Step::Restart, within(5s));
}

void JobWorld::restart() {
  if (machine_) return;
  machine_ = make_(random_.bits());
  writes_to_crash_ = random_.between(1, kWritesBetweenCrashes);
  for (const auto& [job, row] : disk_.rows()) {
    latest_job_ = std::max(latest_job_, job);
    if (domain::is_terminal(row.state)) checker_.read(row, now_);
  }
  const bool sizes_first = random_.chance(0.5);
  if (sizes_first) resize();
  const auto rows = disk_.rows();
  for (const auto& [job, row] : rows) {
    if (domain::is_terminal(row.state) || !machine_ || crash_now_) continue;
    const bool forgotten =
        options_.restart_forgets_in_progress && row.state == domain::JobState::InProgress;
    if (forgotten) continue;
    checker_.arrived(row.accepted, now_);
    post(row.accepted);
  }
  if (!sizes_first && !crash_now_) resize();
}

void JobWorld::drain() {
  if (!machine_ || draining_) return;
  draining_ = true;
  post(control::QueueDrained{});
  plan(Step::Crash, 1s + within(10s));  // its end, or somebody's kill -9
}

void JobWorld::resize() {
  for (const char* function : kFunctions) {
    if (!machine_ || crash_now_) return;
    const int places = random_.between(1, 4);
    checker_.sized(function, places);
    post(control::FunctionSized{function, places});
  }
}

void JobWorld::remove() {
  if (!machine_) return;
  post(control::FunctionRemoved{kFunctions.back()});
  checker_.removed(kFunctions.back());
}

void JobWorld::post(const control::JobEvent& event) {
  if (!machine_ || crash_now_) return;
  const control::JobEffects effects = machine_->handle(event, now_);
  for (const control::JobEffect& effect : effects.list) {
    std::visit([this](const auto& one) { carry_out(one); }, effect);
    if (crash_now_) return;  // the rest was never done
  }
  checker_.turn_over(now_);
  if (std::exchange(wake_, effects.wake_at) != effects.wake_at && wake_)
    plan(Step::Tick, *wake_ - now_);
}

void JobWorld::carry_out(const control::StartAttempt& start) {
  checker_.started(start, now_);
  ++result_.starts;
  runs_[{start.job.value, start.fence}] = drawn_run(start.job);
  plan(Step::Run, within(10s), start.job, start.fence);
  write(start);
}

void JobWorld::carry_out(const control::StopAttempt& stop) {
  checker_.stopped(stop.job, stop.fence);
  runs_.erase({stop.job.value, stop.fence});
  if (random_.chance(0.5)) plan(Step::Late, within(1min), stop.job, stop.fence);
}

void JobWorld::carry_out(const control::RequeueJob& back) {
  checker_.requeued(back, now_);
  write(back);
}

void JobWorld::carry_out(const control::SettleJob& end) {
  checker_.settled(end.job);
  write(end);
}

// --- replicas ---

Run JobWorld::drawn_run(JobId job) {
  Run run{.progress_left = random_.between(0, 4)};
  if (job.value % 13 == 5) {  // kills whatever runs it, also when there is no trouble
    run.outcome = AttemptOutcome::Crashed;
    run.blamed = job.value % 2 == 0;
    return run;
  }
  if (!trouble()) return run;
  const double drawn = random_.unit();
  if (drawn < 0.15)
    run.outcome = AttemptOutcome::NoCapacity;
  else if (drawn < 0.3)
    run.outcome = AttemptOutcome::FunctionFailed;
  else if (drawn < 0.4)
    run.outcome = AttemptOutcome::Crashed;
  else if (drawn < 0.45)
    run.outcome = AttemptOutcome::Invalid;
  else if (drawn < 0.5)
    run.outcome = AttemptOutcome::TimedOut;
  run.silent = random_.chance(0.15);
  return run;
}

void JobWorld::run_on(const Action& action) {
  const auto found = runs_.find({action.job.value, action.fence});
  if (found == runs_.end() || action.life != life_) return;
  Run& run = found->second;
  const bool at_once = run.outcome == AttemptOutcome::NoCapacity ||
                       (run.outcome == AttemptOutcome::FunctionFailed && run.progress_left == 0);
  if (!run.granted && !at_once) {
    if (run.silent && run.progress_left == 0) return;  // hangs while it loads
    run.granted = true;
    plan(Step::Run, within(10s), action.job, action.fence);
    return post(control::AttemptGranted{action.job, action.fence});
  }
  if (run.granted && run.progress_left > 0) {
    --run.progress_left;
    plan(Step::Run, within(14s), action.job, action.fence);
    return post(control::AttemptProgressed{action.job, action.fence});
  }
  if (run.silent) return;
  control::AttemptEnded ended{action.job, action.fence, run.outcome, run.blamed};
  if (random_.chance(0.3)) ended.retry_after = within(90s);
  checker_.stopped(action.job, action.fence);
  runs_.erase(found);
  if (random_.chance(0.2)) plan(Step::Late, within(1min), action.job, action.fence);
  post(ended);
}

}  // namespace

std::unique_ptr<JobMachine> job_queue_machine(std::uint64_t seed) {
  return std::make_unique<QueueMachine>(seed);
}

JobWorldResult play_jobs(const JobWorldOptions& options, const MakeJobMachine& make) {
  return JobWorld(options, make).play();
}

}  // namespace glowplug::simulate
