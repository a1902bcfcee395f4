#include "app/tuner.h"

#include <algorithm>

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "models/tuning_record.h"
#include "policy/admission.h"

namespace glowplug::app {
namespace {

// Far above what the brain counts to.
constexpr std::uint64_t kFirstProcess = std::uint64_t{1} << 62;

}  // namespace

std::uint64_t estimate_tune_bytes(const TuneJob& job) {
  domain::Manifest longest = job.manifest;
  longest.tuning.kv = domain::KvType::F16;
  longest.tuning.batch = std::max(longest.tuning.batch, policy::kTunedBatchMost);
  longest.resources.memory_bytes = 0;
  // A stand-in for a file of another type is made in memory.
  const std::uint64_t stand_in = job.offers.empty() ? 0 : 2 * job.facts.file_bytes;
  return policy::estimate_replica_bytes(longest, job.facts) + stand_in;
}

Tuner::Tuner(boost::asio::io_context& loop, runtime::Supervisor& supervisor,
             std::function<void(control::Event)> post, int cores)
    : loop_(loop),
      supervisor_(supervisor),
      post_(std::move(post)),
      cores_(cores),
      timer_(loop),
      process_{kFirstProcess} {}

domain::TuneId Tuner::begin(TuneJob job, Hears hears) {
  GLOWPLUG_ASSERT(!running());
  post_(control::MemorySetAside{estimate_tune_bytes(job)});
  job_ = std::move(job);
  hears_ = std::move(hears);
  ++tune_.value;
  done_.clear();
  boost::asio::post(loop_, [this, tune = tune_] {
    if (running() && tune == tune_) next();
  });
  return tune_;
}

void Tuner::cancel(domain::TuneId tune) {
  if (!running() || tune != tune_) return;
  hears_ = {};
  finish(Error{});
}

void Tuner::fail(const Error& error) {
  if (running()) finish(error);
}

bool Tuner::owns(domain::ProcessId process) const { return process.value >= kFirstProcess; }

void Tuner::on_measured(domain::ProcessId process, const std::string& line) {
  if (!current_ || process != process_) return;
  const Result<domain::Figures> figures = models::read_measured_line(line);
  if (figures)
    current_->figures = *figures;
  else
    current_->error = figures.error().message;
}

void Tuner::on_gone(domain::ProcessId process, const std::string& cause) {
  if (!current_ || process != process_) return;  // of a tune that was cancelled
  timer_.cancel();
  domain::Trial trial = *std::move(current_);
  current_.reset();
  if (too_late_) {
    trial.figures.reset();
    trial.error = fmt::format("took longer than {:g} s", to_seconds(domain::kTrialTimeout));
  } else if (!trial.figures && trial.error.empty()) {
    trial.error = cause;
  }
  note(std::move(trial));
  next();
}

void Tuner::note(domain::Trial trial) {
  done_.push_back(std::move(trial));
  if (!hears_.trial) return;
  hears_.trial({.trial = done_.back(),
                .done = static_cast<int>(done_.size()),
                .of = policy::trials_expected(scope(), done_)});
}

// Starts the next process; goes on at once over those that cannot be started.
void Tuner::next() {
  while (running()) {
    auto trial = policy::next_trial(scope(), done_);
    if (!trial) break;
    if (start(*std::move(trial))) return;
  }
  if (!running()) return;
  const auto best = policy::best_trial(scope(), done_);
  if (!best) {
    return finish(Error{
        std::string(domain::error::kFunctionFailed),
        fmt::format("`{}` cannot be measured: {}", job_->manifest.name, done_.front().error), ""});
  }
  finish(domain::TuneResult{.cores = cores_,
                            .calls_meanwhile = 0,
                            .choice = policy::choice_of(done_[*best], cores_),
                            .trials = done_,
                            .faster_file = policy::faster_file(scope(), done_)});
}

bool Tuner::start(domain::Trial trial) {
  ++process_.value;
  too_late_ = false;
  const domain::Manifest manifest = policy::applied(job_->manifest, trial.settings);
  const int threads = trial.settings.threads;
  const auto limits = policy::limits_of(estimate_tune_bytes(*job_), manifest, job_->facts, threads);
  const Result<void> started = supervisor_.start({.process = process_,
                                                  .role = control::Role::Measure,
                                                  .manifest = manifest,
                                                  .revision = job_->revision,
                                                  .facts = job_->facts,
                                                  .limits = limits,
                                                  .threads = threads,
                                                  .from = {},
                                                  .file_type = trial.file_type});
  if (!started) {
    trial.error = started.error().message;
    note(std::move(trial));
    return false;
  }
  current_ = std::move(trial);
  timer_.expires_after(domain::kTrialTimeout);
  timer_.async_wait([this, process = process_](boost::system::error_code code) {
    if (code || !current_ || process != process_) return;
    too_late_ = true;
    supervisor_.kill(process, domain::ExitReason::StartOverdue);
  });
  return true;
}

void Tuner::finish(Result<domain::TuneResult> outcome) {
  timer_.cancel();
  if (current_) supervisor_.kill(process_);
  current_.reset();
  job_.reset();
  post_(control::MemorySetAside{0});
  const Hears hears = std::move(hears_);
  hears_ = {};
  if (hears.done) hears.done(std::move(outcome));
}

}  // namespace glowplug::app
