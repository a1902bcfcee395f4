// Accepted jobs under crashes of their server at any write: none is lost, none ends twice. And the
// same with machines and a driver that are broken on purpose, none of which may pass.
#include "simulate/job_world.h"

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

using namespace std::chrono_literals;

// Plays seeds until so many crashes have been, and says what has happened in them.
JobWorldResult play_crashes(std::uint64_t first_seed, int crashes) {
  JobWorldResult sum;
  for (std::uint64_t seed = first_seed; sum.crashes < crashes; ++seed) {
    const JobWorldResult one = play_jobs({.seed = seed}, job_queue_machine);
    sum.crashes += one.crashes;
    sum.accepted += one.accepted;
    sum.starts += one.starts;
    sum.fenced += one.fenced;
    sum.dead_letters += one.dead_letters;
    for (const auto& [state, count] : one.ends) sum.ends[state] += count;
    if (!one.violation) continue;
    sum.violation = one.violation;
    ADD_FAILURE() << "seed " << seed << ": " << *one.violation;
    break;
  }
  return sum;
}

TEST(JobWorld, ThreeThousandCrashes_LoseNothingAndEndNothingTwice) {
  const JobWorldResult sum = play_crashes(1, 3'000);
  // Whatever can become of a job has become of some.
  EXPECT_EQ(sum.ends.size(), 4u);
  for (const auto& [state, count] : sum.ends) EXPECT_GT(count, 20) << to_string(state);
  EXPECT_GT(sum.dead_letters, 20);
  EXPECT_GT(sum.fenced, 100);
  EXPECT_GT(sum.starts, sum.accepted);
}

// A minute or two: simulate_test --gtest_also_run_disabled_tests
// --gtest_filter='*AHundredThousand*'
TEST(JobWorld, DISABLED_AHundredThousandCrashes_LoseNothingAndEndNothingTwice) {
  const JobWorldResult sum = play_crashes(1'000'000, 100'000);
  std::printf("%d crashes, %d jobs accepted, %d starts, %d late answers\n", sum.crashes,
              sum.accepted, sum.starts, sum.fenced);
  for (const auto& [state, count] : sum.ends)
    std::printf("  %s %d\n", std::string(to_string(state)).c_str(), count);
}

TEST(JobWorld, SameSeed_SameRun) {
  const JobWorldResult one = play_jobs({.seed = 7}, job_queue_machine);
  const JobWorldResult two = play_jobs({.seed = 7}, job_queue_machine);
  EXPECT_EQ(one.starts, two.starts);
  EXPECT_EQ(one.ends, two.ends);
  const JobWorldResult other = play_jobs({.seed = 8}, job_queue_machine);
  EXPECT_NE(std::tuple(one.accepted, one.starts, one.fenced, one.ends),
            std::tuple(other.accepted, other.starts, other.fenced, other.ends));
}

// --- broken on purpose ---

// Hears, and is heard, through what a derived one makes of it.
class Broken : public JobMachine {
 public:
  explicit Broken(std::uint64_t seed) : queue_(seed) {}
  control::JobEffects handle(const control::JobEvent& event, Time now) override {
    control::JobEvent heard = event;
    mishear(heard);
    control::JobEffects said = queue_.handle(heard, now);
    missay(said);
    return said;
  }

 protected:
  virtual void mishear(control::JobEvent&) {}
  virtual void missay(control::JobEffects&) {}

 private:
  control::JobQueue queue_;
};

// Takes what comes of any attempt for one of the attempt that runs.
class ForgetsFences final : public Broken {
 public:
  using Broken::Broken;

 private:
  void mishear(control::JobEvent& event) override {
    if (auto* ended = std::get_if<control::AttemptEnded>(&event))
      ended->fence = latest_[ended->job.value];
  }
  void missay(control::JobEffects& effects) override {
    for (const auto& effect : effects.list)
      if (const auto* start = std::get_if<control::StartAttempt>(&effect))
        latest_[start->job.value] = start->fence;
  }
  std::map<std::uint64_t, std::uint64_t> latest_;
};

template <typename Effect>
class Repeats final : public Broken {  // SettleJob: an end is counted twice
 public:
  using Broken::Broken;

 private:
  void missay(control::JobEffects& effects) override {
    for (std::size_t i = 0, count = effects.list.size(); i < count; ++i)
      if (std::holds_alternative<Effect>(effects.list[i])) effects.list.push_back(effects.list[i]);
  }
};

template <typename Effect>
class Withholds final : public Broken {  // each third
 public:
  using Broken::Broken;

 private:
  void missay(control::JobEffects& effects) override {
    std::erase_if(effects.list, [this](const control::JobEffect& effect) {
      return std::holds_alternative<Effect>(effect) && ++count_ % 3 == 0;
    });
  }
  int count_ = 0;
};

class OversleepsAtTimes final : public Broken {
 public:
  using Broken::Broken;

 private:
  void missay(control::JobEffects& effects) override {
    if (++count_ % 5 == 0) effects.wake_at.reset();
  }
  int count_ = 0;
};

template <void (*kChange)(control::JobEvent&)>
class Mishears final : public Broken {
 public:
  using Broken::Broken;

 private:
  void mishear(control::JobEvent& event) override { kChange(event); }
};
template <void (*kChange)(control::JobArrived&)>
void of_arrivals(control::JobEvent& event) {
  if (auto* arrived = std::get_if<control::JobArrived>(&event)) kChange(*arrived);
}
void forget_delay(control::JobArrived& job) { job.not_before = {}; }
void forget_ttl(control::JobArrived& job) { job.expires_at = {}; }
void forget_fence(control::JobArrived& job) { job.fence = 0; }
void forget_attempts(control::JobArrived& job) { job.attempts = 0; }
void mix_urgencies(control::JobArrived& job) { job.urgency = domain::JobUrgency::Interactive; }
void swap_urgencies(control::JobArrived& job) {
  job.urgency = job.urgency == domain::JobUrgency::Batch ? domain::JobUrgency::Interactive
                                                         : domain::JobUrgency::Batch;
}
void double_places(control::JobEvent& event) {
  if (auto* sized = std::get_if<control::FunctionSized>(&event)) sized->places_max *= 2;
}

template <typename Machine>
std::unique_ptr<JobMachine> made(std::uint64_t seed) {
  return std::make_unique<Machine>(seed);
}

constexpr std::uint64_t kSeeds = 200;

bool found_out(const MakeJobMachine& make, bool driver_forgets = false) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed)
    if (play_jobs({.seed = seed, .restart_forgets_in_progress = driver_forgets}, make).violation)
      return true;
  return false;
}

TEST(JobWorld, BrokenMachines_AreFoundOut) {
  const std::pair<const char*, MakeJobMachine> broken[] = {
      {"forgets fences", made<ForgetsFences>},
      {"ends twice", made<Repeats<control::SettleJob>>},
      {"starts twice", made<Repeats<control::StartAttempt>>},
      {"forgets ends", made<Withholds<control::SettleJob>>},
      {"forgets to stop", made<Withholds<control::StopAttempt>>},
      {"forgets starts", made<Withholds<control::StartAttempt>>},
      {"forgets to queue again", made<Withholds<control::RequeueJob>>},
      {"oversleeps", made<OversleepsAtTimes>},
      {"forgets delays", made<Mishears<of_arrivals<forget_delay>>>},
      {"forgets ttl", made<Mishears<of_arrivals<forget_ttl>>>},
      {"forgets fences over restarts", made<Mishears<of_arrivals<forget_fence>>>},
      {"forgets attempts over restarts", made<Mishears<of_arrivals<forget_attempts>>>},
      {"takes all for interactive", made<Mishears<of_arrivals<mix_urgencies>>>},
      {"takes one urgency for the other", made<Mishears<of_arrivals<swap_urgencies>>>},
      {"takes too many places", made<Mishears<double_places>>}};
  for (const auto& [what, make] : broken) EXPECT_TRUE(found_out(make)) << what;
}

TEST(JobWorld, DriverThatForgetsWhatWasInProgress_IsFoundOut) {
  EXPECT_FALSE(found_out(job_queue_machine));
  EXPECT_TRUE(found_out(job_queue_machine, true));
}

}  // namespace
}  // namespace glowplug::simulate
