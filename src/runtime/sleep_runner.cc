#include "runtime/sleep_runner.h"

#include <optional>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::runtime {

class SleepRunner::Run final : public std::enable_shared_from_this<Run> {
 public:
  Run(boost::asio::io_context& loop, control::Endpoint endpoint, std::vector<SleepStep> steps,
      Duration limit, Done done)
      : loop_(loop),
        endpoint_(std::move(endpoint)),
        steps_(std::move(steps)),
        limit_(limit),
        done_(std::move(done)),
        limit_timer_(loop),
        pause_(loop) {}

  void begin() {
    limit_timer_.expires_after(limit_);
    limit_timer_.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code) self->late();
    });
    ask();
  }

  void cancel() {
    done_ = nullptr;
    limit_timer_.cancel();
    pause_.cancel();
    request_.reset();
  }

 private:
  void ask() {
    const SleepStep& step = steps_[at_];
    // The request is a member: it does not outlive `this`.
    request_.emplace(loop_,
                     ReplicaAsk{.endpoint = endpoint_,
                                .method = step.method,
                                .target = step.target,
                                .body = step.body,
                                .timeout = limit_},
                     [this](const Result<ReplicaReply>& reply) { took(reply); });
  }

  void took(const Result<ReplicaReply>& reply) {
    const SleepStep& step = steps_[at_];
    said_ = in_words(step, reply);
    const Verdict verdict = reply ? judge(step, *reply) : Verdict::Failed;
    if (verdict == Verdict::Failed) return fail(said_);
    if (verdict == Verdict::Again) return again();
    if (++at_ == steps_.size()) return finish({});
    ask();
  }

  void again() {
    pause_.expires_after(domain::kSleepPollEvery);
    pause_.async_wait([self = shared_from_this()](boost::system::error_code code) {
      if (!code && self->done_) self->ask();
    });
  }

  void late() {
    if (!done_) return;
    const std::string last = said_.empty() ? "nothing was answered" : "last, " + said_;
    fail(fmt::format("not done within {}; {}", format_duration(limit_), last));
  }

  void fail(std::string why) {
    finish(Error{std::string(domain::error::kReplicaFailed), std::move(why), {}});
  }

  void finish(Result<void> outcome) {
    const Done done = std::exchange(done_, nullptr);
    limit_timer_.cancel();
    pause_.cancel();
    if (done) done(std::move(outcome));
  }

  boost::asio::io_context& loop_;
  control::Endpoint endpoint_;
  std::vector<SleepStep> steps_;
  std::size_t at_ = 0;
  Duration limit_;
  Done done_;  // empty once called or forgotten
  std::string said_;
  boost::asio::steady_timer limit_timer_, pause_;
  std::optional<ReplicaRequest> request_;
};

SleepRunner::SleepRunner(boost::asio::io_context& loop) : loop_(loop) {}

SleepRunner::~SleepRunner() {
  for (const auto& [process, run] : runs_) run->cancel();
}

void SleepRunner::run(domain::ProcessId process, const control::Endpoint& endpoint,
                      std::vector<SleepStep> steps, Duration limit, Done done) {
  forget(process);
  auto run = std::make_shared<Run>(loop_, endpoint, std::move(steps), limit,
                                   [this, process, done = std::move(done)](Result<void> outcome) {
                                     runs_.erase(process);
                                     done(std::move(outcome));
                                   });
  runs_.emplace(process, run);
  run->begin();
}

void SleepRunner::forget(domain::ProcessId process) {
  const auto found = runs_.find(process);
  if (found == runs_.end()) return;
  found->second->cancel();
  runs_.erase(found);
}

}  // namespace glowplug::runtime
