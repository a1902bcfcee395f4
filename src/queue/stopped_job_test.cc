// What an attempt that is stopped has come to reaches its job's end.
#include <mutex>

#include "queue/test_jobs.h"

namespace glowplug::queue {
namespace {

using domain::JobId;
using domain::JobState;

class StoppedJobTest : public JobsTest {
 protected:
  StoppedJobTest() {
    on_settle_ = [this](storage::Database&, const storage::SettledJob& job) -> Result<void> {
      const std::lock_guard lock(settled_mutex_);
      settled_.push_back({.cost = job.end.receipt ? job.end.receipt->cost.micros : -1,
                          .platform = job.platform.micros +
                                      (job.end.receipt ? job.end.receipt->platform.micros : 0)});
      return {};
    };
  }
  struct Settled {
    std::int64_t cost = 0, platform = 0;
  };
  std::vector<Settled> settled() {
    const std::lock_guard lock(settled_mutex_);
    return settled_;
  }
  void begin() {
    open();
    runner_->holds_stops = true;
  }
  void tell_stopped(std::size_t run, std::int64_t cost, std::int64_t platform) {
    const auto stopped = runner_->runs.at(run).heard.stopped;
    stopped(domain::Receipt{.cost = {cost}, .platform = {platform}});
  }

 private:
  std::mutex settled_mutex_;  // guards what follows; the writer's thread adds to it
  std::vector<Settled> settled_;
};

TEST_F(StoppedJobTest, CancelledWhileItRuns_IsOverOnceItsReceiptIsThere_AndItsCallerPays) {
  begin();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  std::optional<Result<storage::JobView>> cancelled;
  service_->cancel(job, [&](Result<storage::JobView> view) { cancelled = std::move(view); });
  EXPECT_EQ(runner_->payers, std::vector{policy::Payer::Caller});
  EXPECT_FALSE(is_terminal(state(job)));  // what is read now, all that was posted before is in
  EXPECT_FALSE(cancelled);
  tell_stopped(0, 70, 5);
  ASSERT_TRUE(run_until([&] { return cancelled.has_value(); }));
  EXPECT_EQ((*cancelled)->state, JobState::Cancelled);
  ASSERT_EQ(settled().size(), 1U);
  EXPECT_EQ(settled()[0].cost, 70);
  EXPECT_EQ(settled()[0].platform, 5);
  tell_stopped(0, 70, 5);  // once
  EXPECT_EQ(over(job).state, JobState::Cancelled);
  EXPECT_EQ(settled().size(), 1U);
}

TEST_F(StoppedJobTest, ExpiredWhileItRuns_IsThePlatforms) {
  begin();
  SubmitOptions options;
  options.terms.ttl = 1min;
  const JobId job = submit(std::move(options));
  ASSERT_TRUE(runs(1));
  runner_->runs[0].heard.granted();
  for (int i = 0; i < 4; ++i) {
    advance(20s);
    runner_->runs[0].heard.progressed();
  }
  ASSERT_EQ(runner_->payers, std::vector{policy::Payer::Platform});
  tell_stopped(0, 0, 9);
  EXPECT_EQ(over(job).state, JobState::Expired);
  EXPECT_EQ(settled()[0].cost, 0);
  EXPECT_EQ(settled()[0].platform, 9);
}

TEST_F(StoppedJobTest, LapsedAndRunAgain_ItsCostIsOfThePlatform_AlsoWhereTheNextOneEndsFirst) {
  for (const bool late : {false, true}) {
    begin();
    const JobId job = submit();
    ASSERT_TRUE(runs(1));
    runner_->runs[0].heard.granted();
    advance(61s);  // silent
    ASSERT_EQ(runner_->payers, std::vector{policy::Payer::Platform});
    if (!late) tell_stopped(0, 0, 30);
    advance(10min);
    ASSERT_TRUE(runs(2));
    AttemptAnswer answer = FakeRunner::answer("\"done\"");
    answer.receipt = domain::Receipt{.cost = {8}, .platform = {1}};
    end(1, std::move(answer));
    if (late) {
      EXPECT_FALSE(is_terminal(state(job)));
      tell_stopped(0, 0, 30);
    }
    EXPECT_EQ(over(job).result, "\"done\"");
    ASSERT_EQ(settled().size(), late ? 2U : 1U);
    EXPECT_EQ(settled().back().cost, 8);
    EXPECT_EQ(settled().back().platform, 31);
  }
}

}  // namespace
}  // namespace glowplug::queue
