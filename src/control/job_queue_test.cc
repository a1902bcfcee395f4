// Each event in each state of a job, and what becomes of it in the end.
#include "control/job_queue.h"

#include <gtest/gtest.h>

#include "control/test_jobs.h"
#include "domain/errors.h"

namespace glowplug::control {
namespace {

using domain::JobState;
using enum AttemptOutcome;
using Starts = std::vector<std::uint64_t>;

TEST(JobQueue, Arrived_StartsAtOnceWithTheNextFence) {
  JobBench bench;
  bench.tell(JobArrived{.job = {5}, .function = "f", .attempts = 1, .fence = 7});
  const auto start = bench.only<StartAttempt>();
  EXPECT_EQ(start.job.value, 5u);
  EXPECT_EQ(start.fence, 8u);
  EXPECT_EQ(start.attempts, 2);
  EXPECT_EQ(bench.queue.state({5}), JobState::InProgress);
  EXPECT_EQ(bench.queue.counts("f").running, 1u);
  EXPECT_EQ(bench.queue.counts().queued, 0u);
}

TEST(JobQueue, ArrivedAgain_ChangesNothing) {
  JobBench bench(1);
  EXPECT_EQ(bench.arrive(1).started(), Starts{1});
  EXPECT_TRUE(bench.arrive(2).quiet());
  EXPECT_TRUE(bench.arrive(1).quiet());
  EXPECT_TRUE(bench.arrive(2).quiet());
  EXPECT_EQ(bench.queue.counts().queued, 1u);
  EXPECT_EQ(bench.queue.counts().running, 1u);
}

TEST(JobQueue, Answered_CompletesAndKeepsTheAnswer) {
  JobBench bench;
  bench.arrive(1).grant(1).end(1, Answered);
  const auto settled = bench.only<SettleJob>();
  EXPECT_EQ(settled.job.value, 1u);
  EXPECT_EQ(settled.state, JobState::Completed);
  EXPECT_EQ(settled.fence, 1u);
  EXPECT_EQ(settled.attempts, 1);
  EXPECT_TRUE(settled.keeps_answer);
  EXPECT_FALSE(settled.dead_lettered);
  EXPECT_EQ(settled.code, "");
  EXPECT_EQ(bench.queue.state({1}), std::nullopt);
  EXPECT_FALSE(bench.effects.wake_at);
}

TEST(JobQueue, InvalidOrTimedOut_FailsWithoutAnotherAttempt) {
  for (const AttemptOutcome outcome : {Invalid, TimedOut}) {
    JobBench bench;
    const auto settled = bench.arrive(1).grant(1).end(1, outcome).only<SettleJob>();
    EXPECT_EQ(settled.job.value, 1u);
    EXPECT_EQ(settled.state, JobState::Failed);
    EXPECT_TRUE(settled.keeps_answer);
    EXPECT_FALSE(settled.dead_lettered);
  }
}

// Contract: exactly attempts_max tries with growing gaps, then a dead letter.
TEST(JobQueue, FailsAlways_IsTriedThriceWithGrowingGapsThenDeadLettered) {
  for (const AttemptOutcome outcome : {FunctionFailed, Crashed}) {
    JobBench bench;
    bench.arrive(1);
    Duration gap{};
    for (const std::uint64_t fence : {1, 2}) {
      const auto again = bench.end(1, outcome, fence).only<RequeueJob>();
      EXPECT_EQ(again.attempts, static_cast<int>(fence));
      EXPECT_EQ(again.kills, outcome == Crashed ? again.attempts : 0);
      EXPECT_GT(again.not_before - bench.now, gap);
      gap = again.not_before - bench.now;
      EXPECT_EQ(bench.queue.state({1}), JobState::Queued);
      EXPECT_TRUE(bench.pass(gap - 1ns).quiet());
      EXPECT_EQ(bench.wakes_in(), 1ns);
      EXPECT_EQ(bench.pass(1ns).only<StartAttempt>().fence, fence + 1);
    }
    const auto settled = bench.end(1, outcome, 3).only<SettleJob>();
    EXPECT_EQ(settled.state, JobState::Failed);
    EXPECT_TRUE(settled.dead_lettered);
    EXPECT_TRUE(settled.keeps_answer);
    EXPECT_EQ(settled.attempts, 3);
  }
}

TEST(JobQueue, KillsThreeReplicas_IsDeadLetteredWithAttemptsLeft) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .kills = 2, .limits = {.attempts_max = 9}});
  const auto settled = bench.end(1, Crashed).only<SettleJob>();
  EXPECT_TRUE(settled.dead_lettered);
  EXPECT_EQ(settled.kills, 3);
  EXPECT_EQ(settled.attempts, 1);
  EXPECT_EQ(settled.reason, "3 replicas ended while they ran it");
}

TEST(JobQueue, Blamed_IsDeadLetteredAtOnce) {
  JobBench bench;
  bench.arrive(1).tell(AttemptEnded{.job = {1}, .fence = 1, .outcome = Crashed, .blamed = true});
  EXPECT_TRUE(bench.only<SettleJob>().dead_lettered);
  EXPECT_EQ(bench.only<SettleJob>().state, JobState::Failed);
}

TEST(JobQueue, NoCapacityAndHandedBack_CostNoAttempt) {
  JobBench bench;
  bench.arrive(1);
  for (std::uint64_t fence = 1; fence <= 40; ++fence) {
    const auto again = bench.end(1, fence % 2 ? NoCapacity : HandedBack, fence).only<RequeueJob>();
    ASSERT_EQ(again.job.value, 1u);
    EXPECT_EQ(again.attempts, 0);
    EXPECT_LE(again.not_before - bench.now, 30s);
    ASSERT_EQ(bench.pass(again.not_before - bench.now).only<StartAttempt>().attempts, 1);
  }
}

TEST(JobQueue, NoCapacity_WaitsAsTheRefusalSaid) {
  JobBench bench;
  bench.arrive(1).tell(
      AttemptEnded{.job = {1}, .fence = 1, .outcome = NoCapacity, .retry_after = 20s});
  EXPECT_TRUE(bench.pass(20s - 1ns).quiet());
  EXPECT_EQ(bench.pass(5s + 1ns).started(), Starts{1});
}

// --- leases ---

TEST(JobQueue, NoGrantWithinLoadTimeout_IsStoppedAndTriedAgain) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .limits = {.load_timeout = 90s}});
  EXPECT_EQ(bench.wakes_in(), 90s);
  bench.pass(50s).progress(1);  // of a load that goes on: its time stays
  EXPECT_EQ(bench.wakes_in(), 40s);
  EXPECT_TRUE(bench.pass(40s - 1ns).quiet());
  bench.pass(1ns);
  EXPECT_EQ(bench.only<StopAttempt>().fence, 1u);
  EXPECT_EQ(bench.only<RequeueJob>().attempts, 1);
  EXPECT_EQ(bench.only<RequeueJob>().kills, 0);
}

TEST(JobQueue, SilentForHeartbeatTimeout_IsStoppedAndTriedAgainAsAfterACrash) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .limits = {.heartbeat_timeout = 30s}});
  bench.grant(1);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(bench.wakes_in(), 30s);
    EXPECT_TRUE(bench.pass(30s - 1ns).progress(1).quiet());
  }
  EXPECT_TRUE(bench.pass(30s - 1ns).quiet());
  bench.pass(1ns);
  EXPECT_EQ(bench.only<StopAttempt>().job.value, 1u);
  EXPECT_EQ(bench.only<RequeueJob>().kills, 1);
  EXPECT_TRUE(bench.end(1, Answered).quiet());  // a paused replica wakes late
  EXPECT_EQ(bench.queue.fenced(), 1u);
  bench.pass(2s);
  EXPECT_TRUE(bench.end(1, Answered).quiet());  // while the next attempt runs
  EXPECT_EQ(bench.end(1, Answered, 2).only<SettleJob>().fence, 2u);
}

TEST(JobQueue, LongerThanRunTimeout_FailsWhateverItsProgress) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .limits = {.run_timeout = 100s}});
  bench.pass(9min).grant(1);
  bench.pass(50s).grant(1);  // by another replica that goes on with the answer
  EXPECT_EQ(bench.wakes_in(), 50s);
  EXPECT_TRUE(bench.pass(50s - 1ns).progress(1).quiet());
  EXPECT_EQ(bench.wakes_in(), 1ns);
  bench.pass(1ns);
  EXPECT_EQ(bench.only<StopAttempt>().fence, 1u);
  const auto settled = bench.only<SettleJob>();
  EXPECT_EQ(settled.state, JobState::Failed);
  EXPECT_EQ(settled.code, domain::error::kDeadlineExceeded);
  EXPECT_EQ(settled.attempts, 1);
  EXPECT_FALSE(settled.keeps_answer);
  EXPECT_FALSE(settled.dead_lettered);
}

TEST(JobQueue, LastAttemptLapses_IsDeadLetteredWithACode) {
  for (const bool granted : {false, true}) {
    JobBench bench;
    bench.tell(JobArrived{.job = {1}, .function = "f", .attempts = 2});
    if (granted) bench.grant(1);
    const auto settled = bench.pass_to_wake().only<SettleJob>();
    EXPECT_TRUE(settled.dead_lettered);
    EXPECT_FALSE(settled.keeps_answer);
    EXPECT_EQ(settled.code,
              granted ? domain::error::kReplicaFailed : domain::error::kFunctionFailed);
  }
}

TEST(JobQueue, AnswerInTheMomentOfItsLapse_IsAnAnswer) {
  JobBench bench;
  bench.arrive(1).grant(1);
  bench.now += 60s;
  EXPECT_EQ(bench.end(1, Answered).only<SettleJob>().state, JobState::Completed);
  EXPECT_EQ(bench.all<StopAttempt>().size(), 0u);
}

// --- not before, and no later than ---

TEST(JobQueue, Delayed_StartsInItsMoment) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .not_before = bench.now + 1h});
  EXPECT_TRUE(bench.quiet());
  EXPECT_EQ(bench.wakes_in(), 1h);
  EXPECT_TRUE(bench.pass(1h - 1ns).quiet());
  EXPECT_EQ(bench.pass(1ns).started(), Starts{1});
}

TEST(JobQueue, Expires_WithoutRunningOrWhileItRuns) {
  JobBench bench(1);
  for (const std::uint64_t job : {1, 2})
    bench.tell(JobArrived{.job = {job}, .function = "f", .expires_at = bench.now + 10s});
  bench.tell(JobArrived{
      .job = {3}, .function = "f", .not_before = bench.now + 1h, .expires_at = bench.now + 10s});
  EXPECT_TRUE(bench.pass(10s - 1ns).quiet());
  bench.pass(1ns);
  const auto settled = bench.all<SettleJob>();
  ASSERT_EQ(settled.size(), 3u);
  for (const SettleJob& one : settled) {
    EXPECT_EQ(one.state, JobState::Expired);
    EXPECT_EQ(one.attempts, one.job.value == 1 ? 1 : 0);
    EXPECT_EQ(one.code, domain::error::kDeadlineExceeded);
  }
  EXPECT_EQ(bench.only<StopAttempt>().job.value, 1u);
  EXPECT_EQ(bench.started(), Starts{});
  EXPECT_FALSE(bench.effects.wake_at);
}

TEST(JobQueue, ArrivedTooLate_ExpiresWithoutRunning) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .expires_at = bench.now});
  EXPECT_EQ(bench.only<SettleJob>().state, JobState::Expired);
  EXPECT_EQ(bench.started(), Starts{});
}

TEST(JobQueue, ArrivedWithoutAttemptsLeft_IsDeadLettered) {
  const JobArrived rows[] = {{.job = {1}, .function = "f", .attempts = 3, .fence = 3},
                             {.job = {1}, .function = "f", .kills = 3, .fence = 3},
                             {.job = {1}, .function = "g", .attempts = 3, .fence = 3}};
  for (const JobArrived& row : rows) {
    JobBench bench;
    const auto settled = bench.tell(row).only<SettleJob>();
    EXPECT_EQ(settled.state, JobState::Failed);
    EXPECT_TRUE(settled.dead_lettered);
    EXPECT_EQ(settled.code, domain::error::kServerError);
    EXPECT_EQ(settled.fence, 3u);
    EXPECT_EQ(bench.started(), Starts{});
    EXPECT_EQ(bench.queue.counts().queued, 0u);
  }
}

TEST(JobQueue, ClockGoesBack_CountsAsStandingStill) {
  JobBench bench;
  bench.tell(JobArrived{.job = {1}, .function = "f", .not_before = bench.now + 10s});
  EXPECT_TRUE(bench.pass(-1h).quiet());
  bench.tell(JobArrived{.job = {2}, .function = "f", .not_before = bench.now + 1h});
  EXPECT_EQ(bench.started(), Starts{2});  // its moment is what was the latest
  EXPECT_EQ(bench.pass(1h + 10s).started(), Starts{1});
}

// --- cancel, in each state ---

TEST(JobQueue, CancelReady_SettlesAndNeverStarts) {
  JobBench bench(1);
  bench.arrive(1).arrive(2).cancel(2);
  EXPECT_EQ(bench.only<SettleJob>().state, JobState::Cancelled);
  EXPECT_EQ(bench.only<SettleJob>().attempts, 0);
  EXPECT_EQ(bench.end(1, Answered).started(), Starts{});
}

TEST(JobQueue, CancelDelayed_SettlesAndWakesNobody) {
  JobBench bench;
  bench
      .tell(JobArrived{
          .job = {1}, .function = "f", .not_before = bench.now + 1h, .expires_at = bench.now + 2h})
      .cancel(1);
  EXPECT_EQ(bench.only<SettleJob>().state, JobState::Cancelled);
  EXPECT_FALSE(bench.effects.wake_at);
}

TEST(JobQueue, CancelRunning_StopsAndIsFinal) {
  for (const bool granted : {false, true}) {
    JobBench bench;
    bench.arrive(1);
    if (granted) bench.grant(1);
    bench.cancel(1);
    EXPECT_EQ(bench.only<StopAttempt>().fence, 1u);
    EXPECT_EQ(bench.only<SettleJob>().state, JobState::Cancelled);
    EXPECT_EQ(bench.only<SettleJob>().attempts, 1);
    EXPECT_EQ(bench.only<SettleJob>().code, "");
    EXPECT_TRUE(bench.end(1, Answered).quiet());
    EXPECT_EQ(bench.queue.fenced(), 1u);
  }
}

TEST(JobQueue, CancelOfWhatIsOverOrUnknown_IsNothing) {
  JobBench bench;
  bench.arrive(1).end(1, Answered);
  EXPECT_TRUE(bench.cancel(1).quiet());
  EXPECT_TRUE(bench.cancel(77).quiet());
}

TEST(JobQueue, OtherFences_ChangeNothingInAnyState) {
  JobBench bench(1);
  bench.tell(JobArrived{.job = {1}, .function = "f", .fence = 4});  // runs
  bench.tell(JobArrived{.job = {2}, .function = "f", .fence = 4});  // ready
  bench.tell(JobArrived{.job = {3}, .function = "f", .not_before = bench.now + 1h, .fence = 4});
  const Duration wakes_in = *bench.wakes_in();
  std::uint64_t events = 0;
  for (const std::uint64_t job : {1, 2, 3, 4}) {
    for (const std::uint64_t fence : {0, 3, 4, 6, job == 1 ? 99 : 5}) {
      EXPECT_TRUE(bench.grant(job, fence).quiet());
      EXPECT_TRUE(bench.progress(job, fence).quiet());
      EXPECT_EQ(bench.wakes_in(), wakes_in);
      for (const AttemptOutcome outcome : {Answered, Invalid, Crashed, NoCapacity, TimedOut})
        EXPECT_TRUE(bench.end(job, outcome, fence).quiet());
      events += 7;
    }
  }
  EXPECT_EQ(bench.queue.fenced(), events);
  EXPECT_EQ(bench.queue.counts().queued, 2u);
  EXPECT_EQ(bench.end(1, Answered, 5).only<SettleJob>().state, JobState::Completed);
}

TEST(JobQueue, OverAndTriedAnew_RunsWithAFreshCount) {
  JobBench bench;
  bench.arrive(1).end(1, Invalid);
  bench.tell(JobArrived{.job = {1}, .function = "f", .fence = 1});
  EXPECT_EQ(bench.only<StartAttempt>().fence, 2u);
  EXPECT_EQ(bench.end(1, Answered, 2).only<SettleJob>().attempts, 1);
}

}  // namespace
}  // namespace glowplug::control
