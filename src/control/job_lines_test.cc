// Which job starts next: order, aging, windows, functions beside each other, drain and removal.
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "control/job_queue.h"
#include "control/test_jobs.h"
#include "domain/errors.h"
#include "policy/job_order.h"

namespace glowplug::control {
namespace {

using domain::JobState;
using domain::JobUrgency;
using enum AttemptOutcome;
using Starts = std::vector<std::uint64_t>;

JobArrived batch(std::uint64_t job) {
  return {.job = {job}, .function = "f", .urgency = JobUrgency::Batch};
}

TEST(JobLines, InteractiveBeforeBatch_OlderFirstWithin) {
  JobBench bench(1);
  bench.arrive(1);  // runs
  bench.tell(batch(3)).tell(batch(2)).arrive(5).arrive(4);
  for (const std::uint64_t next : {4, 5, 2, 3}) {
    const Starts running = bench.end(next == 4   ? 1
                                     : next == 5 ? 4
                                     : next == 2 ? 5
                                                 : 2,
                                     Answered)
                               .started();
    EXPECT_EQ(running, Starts{next});
  }
}

TEST(JobLines, TriedAgain_GoesBeforeYoungerOnes) {
  JobBench bench(1);
  bench.arrive(1).arrive(2).arrive(3);
  EXPECT_EQ(bench.grant(1).end(1, FunctionFailed).started(), Starts{2});
  bench.pass(2s);
  EXPECT_EQ(bench.end(2, Answered).started(), Starts{1});
}

// Interactive jobs without end, a start a second.
TEST(JobLines, BatchWaitsAMinute_ThenHasEachEighthStart) {
  JobBench bench(1);
  bench.arrive(1);
  for (const std::uint64_t job : {2, 3, 4}) bench.tell(batch(job));
  const Time since = bench.now;
  std::map<std::uint64_t, int> start_of;  // a job, the how manieth
  std::uint64_t running = 1, next = 100;
  for (int i = 1; i <= 100; ++i) {
    bench.arrive(next++).pass(1s).end(running, Answered);
    ASSERT_EQ(bench.started().size(), 1u);
    running = bench.started().front();
    start_of[running] = i;
    EXPECT_TRUE(running >= 100 || bench.now - since >= policy::kBatchPatience);
  }
  EXPECT_EQ(start_of[2], 60);
  EXPECT_EQ(start_of[3], 60 + policy::kBatchShare);
  EXPECT_EQ(start_of[4], 60 + 2 * policy::kBatchShare);
}

TEST(JobLines, BatchThatWaitedBeforeARestart_IsDueAtOnce) {
  JobBench bench(1);
  bench.arrive(1);
  JobArrived old = batch(2);
  old.not_before = bench.now - policy::kBatchPatience;
  bench.tell(old);
  for (std::uint64_t job = 3; job < 12; ++job) bench.arrive(job);
  std::uint64_t running = 1;
  int starts = 0;
  for (; running != 2 && starts < 20; ++starts)
    running = bench.end(running, Answered).started().front();
  EXPECT_EQ(starts, policy::kBatchShare);
}

TEST(JobLines, Window_HoldsBackAndGrowsWithItsFunction) {
  JobBench bench(2);
  for (std::uint64_t job = 1; job <= 9; ++job) bench.arrive(job);
  EXPECT_EQ(bench.queue.counts().running, 2u);
  EXPECT_EQ(bench.tell(FunctionSized{"f", 5}).started(), (Starts{3, 4, 5}));
  EXPECT_TRUE(bench.tell(FunctionSized{"f", 1}).quiet());
  for (const std::uint64_t job : {1, 2, 3, 4})
    EXPECT_TRUE(bench.end(job, Answered).all<StartAttempt>().empty());
  EXPECT_EQ(bench.end(5, Answered).started(), Starts{6});
}

TEST(JobLines, FunctionThatWasNotSized_RunsOneAtATime) {
  JobBench bench;
  EXPECT_EQ(bench.tell(JobArrived{{1}, "g"}).started(), Starts{1});
  EXPECT_TRUE(bench.tell(JobArrived{{2}, "g"}).quiet());
  EXPECT_EQ(bench.tell(FunctionSized{"g", 3}).started(), Starts{2});
}

TEST(JobLines, NoCapacity_HalvesTheWindowAndPausesTheFunctionAlone) {
  JobBench bench(8);
  bench.tell(FunctionSized{"g", 1});
  for (std::uint64_t job = 1; job <= 20; ++job) bench.arrive(job);
  for (std::uint64_t job = 1; job <= 8; ++job) {
    bench.end(job, NoCapacity);
    EXPECT_EQ(bench.all<RequeueJob>().size(), 1u);
    EXPECT_EQ(bench.started(), Starts{});  // not those behind them, one after the other
  }
  EXPECT_EQ(bench.tell(JobArrived{{30}, "g"}).started(), Starts{30});
  std::set<std::uint64_t> started;
  for (int i = 0; i < 20 && bench.queue.counts("f").running < 4; ++i)
    for (const std::uint64_t job : bench.pass_to_wake().started()) started.insert(job);
  EXPECT_EQ(bench.queue.counts("f").running, 4u);
  EXPECT_LE(bench.now - Time{1000s}, 2s);
}

TEST(JobLines, AnswerAfterARefusal_EndsThePause) {
  JobBench bench(2);
  bench.arrive(1).arrive(2).arrive(3).grant(1);
  bench.tell(AttemptEnded{.job = {2}, .fence = 1, .outcome = NoCapacity, .retry_after = 60s});
  EXPECT_EQ(bench.started(), Starts{});
  EXPECT_EQ(bench.pass(1s).end(1, Answered).started(), Starts{3});
}

// Otherwise a thousand jobs would be dead letters within seconds of a deploy that does not load.
TEST(JobLines, ReplicaThatDoesNotCome_PausesTheFunctionNotOneJobAlone) {
  JobBench bench(1);
  for (std::uint64_t job = 1; job <= 1000; ++job) bench.arrive(job);
  EXPECT_EQ(bench.end(1, FunctionFailed).started(), Starts{});
  const Time since = bench.now;
  int starts = 0;
  while (bench.now - since < 60s) {
    bench.pass_to_wake();
    for (const StartAttempt& start : bench.all<StartAttempt>()) {
      ++starts;
      bench.end(start.job.value, FunctionFailed, start.fence);
      EXPECT_EQ(bench.started(), Starts{});
    }
  }
  EXPECT_LE(starts, 6);  // after 1, 2, 4, 8, 16 and 24 seconds
  EXPECT_GE(bench.queue.counts("f").queued, 997u);
}

TEST(JobLines, DeployedAnew_StartsAtOnce) {
  JobBench bench(1);
  bench.arrive(1).arrive(2);
  EXPECT_EQ(bench.end(1, FunctionFailed).started(), Starts{});
  EXPECT_EQ(bench.tell(FunctionSized{"f", 1}).started(), Starts{2});
}

TEST(JobLines, FunctionThatNeverAnswers_BlocksNoOther) {
  JobBench bench(1);
  bench.tell(FunctionSized{"g", 1});
  for (std::uint64_t job = 1; job <= 50; ++job) bench.arrive(job);
  for (std::uint64_t job = 101; job <= 150; ++job) {
    bench.tell(JobArrived{{job}, "g"});
    EXPECT_EQ(bench.started(), Starts{job});
    EXPECT_EQ(bench.end(job, Answered).only<SettleJob>().job.value, job);
  }
  EXPECT_EQ(bench.queue.counts("f").queued, 49u);
}

// --- drain ---

TEST(JobLines, Drained_HandsBackWhatRunsAndStartsNothingMore) {
  JobBench bench(2);
  bench.arrive(1).arrive(2).arrive(3).grant(1).tell(QueueDrained{});
  ASSERT_EQ(bench.all<StopAttempt>().size(), 2u);
  const auto back = bench.all<RequeueJob>();
  ASSERT_EQ(back.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back[i].job.value, i + 1);
    EXPECT_EQ(back[i].attempts, 0);
    EXPECT_EQ(back[i].fence, 1u);
    EXPECT_EQ(back[i].not_before, bench.now);
  }
  EXPECT_EQ(bench.queue.counts().queued, 3u);
  EXPECT_TRUE(bench.arrive(4).quiet());
  EXPECT_TRUE(bench.end(1, Answered).quiet());
  EXPECT_TRUE(bench.tell(FunctionSized{"f", 50}).quiet());
  EXPECT_TRUE(bench.tell(QueueDrained{}).quiet());
  EXPECT_TRUE(bench.pass(1h).quiet());
  EXPECT_EQ(bench.cancel(2).only<SettleJob>().state, JobState::Cancelled);
}

// --- removal ---

TEST(JobLines, FunctionRemoved_FailsWhatIsQueuedAndLetsTheRestEnd) {
  JobBench bench(2);
  bench.arrive(1).arrive(2).arrive(3);
  bench.tell(JobArrived{.job = {4}, .function = "f", .not_before = bench.now + 1h});
  bench.tell(JobArrived{{5}, "g"});
  bench.tell(FunctionRemoved{"f"});
  const auto failed = bench.all<SettleJob>();
  ASSERT_EQ(failed.size(), 2u);
  for (const SettleJob& one : failed) {
    EXPECT_EQ(one.state, JobState::Failed);
    EXPECT_EQ(one.code, domain::error::kModelNotFound);
    EXPECT_FALSE(one.dead_lettered);
  }
  EXPECT_EQ(failed[0].job.value + failed[1].job.value, 7u);
  EXPECT_TRUE(bench.all<StopAttempt>().empty());
  EXPECT_EQ(bench.end(1, Answered).only<SettleJob>().state, JobState::Completed);
  const auto last = bench.end(2, FunctionFailed).only<SettleJob>();
  EXPECT_EQ(last.code, domain::error::kModelNotFound);
  EXPECT_EQ(last.attempts, 1);
  EXPECT_EQ(bench.end(5, Answered).only<SettleJob>().state, JobState::Completed);
  EXPECT_EQ(bench.queue.counts().queued + bench.queue.counts().running, 0u);
  EXPECT_TRUE(bench.tell(FunctionRemoved{"f"}).tell(FunctionRemoved{"unknown"}).quiet());
}

TEST(JobLines, FunctionPutAgainAfterRemoval_IsAnother) {
  JobBench bench(1);
  bench.arrive(1).arrive(2).tell(FunctionRemoved{"f"}).tell(FunctionSized{"f", 1});
  EXPECT_EQ(bench.arrive(3).started(), Starts{3});  // job 1 runs still
  EXPECT_EQ(bench.queue.counts("f").running, 1u);
  EXPECT_EQ(bench.end(1, Crashed).only<SettleJob>().code, domain::error::kModelNotFound);
  EXPECT_EQ(bench.end(3, Crashed).all<RequeueJob>().size(), 1u);
}

}  // namespace
}  // namespace glowplug::control
