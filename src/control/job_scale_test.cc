// A million jobs: what they take of memory, and what an event costs among them. Memory is what the
// allocator has given out, its own headers too; costs are counted in comparisons.
#include <algorithm>
#include <malloc.h>
#include <string>

#include <gtest/gtest.h>

#include "control/job_queue.h"
#include "control/test_jobs.h"

namespace glowplug::control {
namespace {

using enum AttemptOutcome;

constexpr std::uint64_t kJobs = 1'000'000;
constexpr std::size_t kBytesEach = 100;
constexpr std::size_t kLittle = 1024 * 1024;  // bytes, that the allocator may keep for itself

std::size_t bytes_held() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

JobArrived waiting(std::uint64_t job, Time now) {
  return {.job = {job},
          .function = job % 10 == 0 ? "g" : "f",
          .urgency = job % 3 == 0 ? domain::JobUrgency::Batch : domain::JobUrgency::Interactive,
          .expires_at = now + 24h};
}

// Comparisons of one event.
std::uint64_t cost(JobBench& bench, const JobEvent& event) {
  const std::uint64_t before = bench.queue.steps();
  bench.tell(event);
  return bench.queue.steps() - before;
}

struct Costs {
  std::uint64_t arrival = 0, turnover = 0, cancel = 0;  // the most of each, of a hundred
};
Costs costs_among(std::uint64_t jobs) {
  JobBench bench(1);
  bench.tell(FunctionSized{"g", 1});
  for (std::uint64_t job = 1; job <= jobs; ++job) bench.tell(waiting(job, bench.now));
  Costs most;
  std::uint64_t running = 1;
  for (std::uint64_t i = 0; i < 100; ++i) {
    most.arrival = std::max(most.arrival, cost(bench, waiting(jobs + 1 + 10 * i, bench.now)));
    most.turnover = std::max(most.turnover, cost(bench, AttemptEnded{{running}, 1, Answered}));
    running = bench.started().at(0);
    most.cancel = std::max(most.cancel, cost(bench, JobCancelled{{jobs / 2 + i}}));
  }
  return most;
}

TEST(JobScale, AMillionQueued_TakeAHundredBytesEach) {
  const std::size_t before = bytes_held();
  {
    JobBench bench(1);
    for (std::uint64_t job = 1; job <= kJobs; ++job) bench.tell(waiting(job, bench.now));
    EXPECT_LT(bytes_held() - before, kBytesEach * kJobs);
    RecordProperty("bytes_each", std::to_string((bytes_held() - before) / kJobs));
    // All over but one: what they took is given back.
    for (std::uint64_t job = 1; job < kJobs; ++job) bench.cancel(job);
    EXPECT_LT(bytes_held(), before + kLittle);
    EXPECT_EQ(bench.queue.counts().queued + bench.queue.counts().running, 1u);
  }
  EXPECT_LT(bytes_held(), before + kLittle);
}

TEST(JobScale, AMillionDelayed_TakeAHundredBytesEach) {
  const std::size_t before = bytes_held();
  JobBench bench(1);
  for (std::uint64_t job = 1; job <= kJobs; ++job) {
    JobArrived arrived = waiting(job, bench.now);
    arrived.not_before = bench.now + 1h + std::chrono::milliseconds(job * 7919 % 100'000);
    bench.tell(arrived);
  }
  EXPECT_LT(bytes_held() - before, kBytesEach * kJobs);
}

TEST(JobScale, EventsAmongAMillion_CostWhatTheyCostAmongAThousandTwice) {
  const Costs few = costs_among(1'000), many = costs_among(kJobs);
  EXPECT_GT(few.arrival, 0u);
  EXPECT_LE(many.arrival, 2 * few.arrival);
  EXPECT_LE(many.turnover, 2 * few.turnover + 20);
  EXPECT_LE(many.cancel, 2 * few.cancel + 20);
}

// Whatever is due at once: a turn does a part of it and asks for the next.
TEST(JobScale, AHundredThousandDueAtOnce_AreDoneInShortTurns) {
  const auto settled_in_turns = [](JobBench& bench) {
    std::size_t settled = bench.all<SettleJob>().size(), most = settled;
    while (bench.wakes_in() == Duration{}) {
      settled += bench.tell(QueueTick{}).all<SettleJob>().size();
      most = std::max(most, bench.effects.list.size());
    }
    EXPECT_LE(most, 64u * 32);
    return settled;
  };
  JobBench bench(1);
  for (std::uint64_t job = 1; job <= 100'000; ++job) {
    JobArrived arrived = waiting(job, bench.now);
    arrived.function = "f";
    bench.tell(arrived);
  }
  bench.arrive(200'000);  // which does not expire
  bench.pass(24h);
  EXPECT_EQ(settled_in_turns(bench), 100'000u);
  EXPECT_EQ(bench.queue.counts().running, 1u);  // the last one
  for (std::uint64_t job = 300'001; job <= 400'000; ++job) bench.arrive(job);
  bench.tell(FunctionRemoved{"f"});
  const std::size_t at_once = bench.all<SettleJob>().size();
  bench.tell(FunctionSized{"f", 1});
  EXPECT_EQ(at_once + settled_in_turns(bench), 100'000u);
  EXPECT_EQ(bench.queue.counts().queued, 0u);
}

}  // namespace
}  // namespace glowplug::control
