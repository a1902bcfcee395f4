// A job queue with a clock that only a test moves, for scenarios of a few lines.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/job_queue.h"

namespace glowplug::control {

using namespace std::chrono_literals;

class JobBench {
 public:
  explicit JobBench(int places = 100) { tell(FunctionSized{"f", places}); }

  // An event now; effects are kept until the next one.
  JobBench& tell(const JobEvent& event) {
    effects = queue.handle(event, now);
    return *this;
  }
  JobBench& arrive(std::uint64_t job) { return tell(JobArrived{{job}, "f"}); }
  JobBench& cancel(std::uint64_t job) { return tell(JobCancelled{{job}}); }
  JobBench& grant(std::uint64_t job, std::uint64_t fence = 1) {
    return tell(AttemptGranted{{job}, fence});
  }
  JobBench& progress(std::uint64_t job, std::uint64_t fence = 1) {
    return tell(AttemptProgressed{{job}, fence});
  }
  JobBench& end(std::uint64_t job, AttemptOutcome outcome, std::uint64_t fence = 1) {
    return tell(AttemptEnded{{job}, fence, outcome});
  }
  JobBench& pass(Duration by) {
    now += by;
    return tell(QueueTick{});
  }
  // To the moment that the queue wishes to wake at.
  JobBench& pass_to_wake() { return pass(effects.wake_at.value_or(now) - now); }

  template <typename Effect>
  std::vector<Effect> all() const {
    std::vector<Effect> found;
    for (const JobEffect& effect : effects.list)
      if (const auto* one = std::get_if<Effect>(&effect)) found.push_back(*one);
    return found;
  }
  template <typename Effect>
  Effect only() const {
    const auto found = all<Effect>();
    return found.size() == 1 ? found.front() : Effect{};  // of job 0, which there is not
  }
  std::vector<std::uint64_t> started() const {
    std::vector<std::uint64_t> jobs;
    for (const StartAttempt& start : all<StartAttempt>()) jobs.push_back(start.job.value);
    return jobs;
  }
  bool quiet() const { return effects.list.empty(); }
  std::optional<Duration> wakes_in() const {
    return effects.wake_at ? std::optional(*effects.wake_at - now) : std::nullopt;
  }

  JobQueue queue{7};
  Time now{1000s};
  JobEffects effects;
};

}  // namespace glowplug::control
