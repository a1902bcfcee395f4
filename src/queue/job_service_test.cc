#include "queue/job_service.h"

#include <set>

#include <gmock/gmock.h>

#include "queue/test_jobs.h"

namespace glowplug::queue {
namespace {

using control::AttemptOutcome;
using domain::JobId;
using domain::JobState;
using testing::HasSubstr;

using JobServiceTest = JobsTest;

SubmitOptions keyed(std::string key, std::string hash) {
  SubmitOptions options;
  options.key = storage::IdempotencyKey{"/v1/jobs", std::move(key), std::move(hash)};
  return options;
}

TEST_F(JobServiceTest, AcceptedJob_RunsAndItsAnswerIsKept) {
  open();
  const JobId job = submit({}, R"({"prompt":"x"})");
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(runner_->runs[0].request.body, R"({"prompt":"x"})");
  EXPECT_EQ(state(job), JobState::InProgress);
  runner_->runs[0].heard.granted();
  end(0, FakeRunner::answer("{\"text\":\"y\"}"));
  const storage::JobView view = over(job);
  EXPECT_EQ(view.state, JobState::Completed);
  EXPECT_EQ(view.status, 200);
  EXPECT_EQ(view.result, "{\"text\":\"y\"}");
  EXPECT_EQ(view.reason, "");
  EXPECT_EQ(service_->counts().queued + service_->counts().running, 0U);
}

TEST_F(JobServiceTest, Refused_NothingIsWritten) {
  open();
  runner_->refusal = Error{"model_not_found", "There is none.", "model"};
  const Result<Accepted> refused = try_submit();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "model_not_found");
  EXPECT_EQ(service_->totals().refused.at("model_not_found"), 1U);
  const auto list = await<Result<std::vector<storage::JobView>>>(
      [&](auto done) { service_->list({}, std::move(done)); });
  EXPECT_TRUE(list->empty());
}

TEST_F(JobServiceTest, AsManyAsMayBe_OneMoreIsRefusedUntilOneIsOver) {
  jobs_max_ = 2;
  open();
  const domain::JobId first = submit();
  submit();
  const Result<Accepted> refused = try_submit();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "queue_full");
  EXPECT_GT(retry_after_s(refused.error()), 0);
  EXPECT_EQ(service_->totals().refused.at("queue_full"), 1U);
  ASSERT_TRUE(runs(2));
  end(0, FakeRunner::answer("{}"));
  over(first);
  EXPECT_TRUE(try_submit());
}

TEST_F(JobServiceTest, Urgency_GoesWithTheRequest_AlsoWhereItIsReadBack) {
  places_["fn"] = 1;
  open();
  SubmitOptions options;
  options.urgency = domain::JobUrgency::Batch;
  submit(std::move(options));
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(runner_->runs[0].request.urgency, domain::JobUrgency::Batch);
  open();
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(runner_->runs[0].request.urgency, domain::JobUrgency::Batch);
}

TEST_F(JobServiceTest, ServerEndsWithJobsQueuedAndRunning_EachIsRunByTheNext) {
  places_["fn"] = 1;
  open();
  const JobId running = submit({}, "\"first\"");
  const JobId queued = submit({}, "\"second\"");
  ASSERT_TRUE(runs(1));
  open();
  EXPECT_EQ(state(queued), JobState::Queued);
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(runner_->runs[0].job, running);
  EXPECT_EQ(runner_->runs[0].fence, 2U);
  EXPECT_EQ(runner_->runs[0].request.body, "\"first\"");
  end(0, FakeRunner::answer("1"));
  ASSERT_TRUE(runs(2));
  EXPECT_EQ(runner_->runs[1].request.body, "\"second\"");
  end(1, FakeRunner::answer("2"));
  EXPECT_EQ(over(running).result, "1");
  EXPECT_EQ(over(queued).result, "2");
  open();
  EXPECT_EQ(view(running)->result, "1");
  EXPECT_EQ(service_->counts().queued + service_->counts().running, 0U);
}

TEST_F(JobServiceTest, IdsOfTheNextServer_AreLater) {
  open();
  const JobId first = submit();
  open();
  EXPECT_GT(submit(), first);
}

TEST_F(JobServiceTest, FunctionIsGoneAfterARestart_ItsJobsFail) {
  open();
  submit();
  const JobId second = submit();
  places_.clear();
  open();  // the first one starts before the functions are known
  const storage::JobView view = over(second);
  EXPECT_EQ(view.state, JobState::Failed);
  EXPECT_EQ(view.code, "model_not_found");
}

TEST_F(JobServiceTest, LateEndOfAnEarlierAttempt_ChangesNothing) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  end(0, FakeRunner::failure(AttemptOutcome::Crashed));
  advance(10min);
  ASSERT_TRUE(runs(2));
  end(0, FakeRunner::answer("\"late\""));
  end(1, FakeRunner::answer("\"newer\""));
  EXPECT_EQ(over(job).result, "\"newer\"");
  EXPECT_EQ(service_->fenced(), 1U);
}

TEST_F(JobServiceTest, FirstCommittedEndWins) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  end(0, FakeRunner::answer("\"one\""));
  over(job);
  const auto second = writer_->ask([&](storage::Database& database) {
    return storage::settle_job(
        database,
        {.job = job, .fence = 9, .state = JobState::Failed, .status = 500, .result = "\"two\""},
        {});
  });
  ASSERT_TRUE(second);
  EXPECT_FALSE(*second);
  EXPECT_EQ(view(job)->result, "\"one\"");
}

TEST_F(JobServiceTest, AlwaysFailing_IsADeadLetterAfterItsAttempts_AndIsRedrivenAfresh) {
  open();
  SubmitOptions options;
  options.terms.limits.attempts_max = 2;
  const JobId job = submit(options);
  for (std::size_t run = 0; run < 2; ++run) {
    ASSERT_TRUE(runs(run + 1));
    end(run, FakeRunner::failure(AttemptOutcome::FunctionFailed));
    advance(10min);
  }
  const storage::JobView dead = over(job);
  EXPECT_EQ(dead.state, JobState::Failed);
  EXPECT_TRUE(dead.dead_lettered);
  EXPECT_EQ(dead.attempts, 2);
  EXPECT_EQ(dead.code, "function_failed");
  EXPECT_THAT(dead.reason, HasSubstr("it failed"));
  EXPECT_EQ(runner_->runs.size(), 2U);

  const auto count =
      await<Result<std::size_t>>([&](auto done) { service_->redrive_all(std::move(done)); });
  ASSERT_TRUE(count);
  EXPECT_EQ(*count, 1U);
  ASSERT_TRUE(runs(3));
  EXPECT_GT(runner_->runs[2].fence, 2U);
  end(2, FakeRunner::answer("\"now\""));
  const storage::JobView again = over(job);
  EXPECT_EQ(again.state, JobState::Completed);
  EXPECT_EQ(again.attempts, 1);
  EXPECT_FALSE(again.dead_lettered);
}

TEST_F(JobServiceTest, Cancel_InEveryState) {
  places_["fn"] = 1;
  open();
  const JobId running = submit();
  const JobId queued = submit();
  ASSERT_TRUE(runs(1));
  const auto cancel = [&](JobId job) {
    return await<Result<storage::JobView>>(
        [&](auto done) { service_->cancel(job, std::move(done)); });
  };
  EXPECT_EQ(cancel(queued)->state, JobState::Cancelled);
  EXPECT_EQ(cancel(running)->state, JobState::Cancelled);
  EXPECT_EQ(runner_->stopped.size(), 1U);
  end(0, FakeRunner::answer("\"late\""));
  EXPECT_EQ(cancel(running)->state, JobState::Cancelled);
  EXPECT_EQ(view(running)->status, 0);
  EXPECT_EQ(cancel({42}).error().code, "not_found");
}

TEST_F(JobServiceTest, PastItsTtlInTheQueue_ExpiresWithoutRunning) {
  places_["fn"] = 1;
  open();
  submit();
  SubmitOptions options;
  options.terms.ttl = 10s;
  const JobId job = submit(options);
  advance(11s);
  EXPECT_EQ(over(job).state, JobState::Expired);
  EXPECT_EQ(runner_->runs.size(), 1U);
}

TEST_F(JobServiceTest, Delayed_StartsWhenItsTimeHasCome_AlsoAfterARestart) {
  open();
  SubmitOptions options;
  options.delay = 1h;
  const JobId job = submit(options);
  EXPECT_TRUE(runner_->runs.empty());
  open();
  advance(59min);
  EXPECT_TRUE(runner_->runs.empty());
  advance(2min);
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(runner_->runs[0].job, job);
}

TEST_F(JobServiceTest, Key_SameBodyIsTheSameJob_OtherBodyIsRefused_AlsoAfterARestart) {
  open();
  const JobId job = submit(keyed("k", "h"));
  for (int server = 0; server < 2; ++server) {
    const Result<Accepted> again = try_submit(keyed("k", "h"));
    ASSERT_TRUE(again);
    ASSERT_TRUE(again->kept);
    EXPECT_EQ(again->job, job);
    EXPECT_EQ(try_submit(keyed("k", "other")).error().code, "idempotency_key_reused");
    open();
  }
  EXPECT_NE(submit(keyed("k2", "h")), job);
  advance(25h);
  EXPECT_NE(submit(keyed("k", "other")), job);
}

TEST_F(JobServiceTest, Key_WhileTheFirstIsBeingWritten_IsInProgress) {
  open();
  std::vector<Result<Accepted>> heard;
  for (int i = 0; i < 2; ++i)
    service_->submit({.request = {.function = "fn"}, .options = keyed("k", "h")},
                     [&](Result<Accepted> accepted) { heard.push_back(std::move(accepted)); });
  ASSERT_TRUE(run_until([&] { return heard.size() == 2; }));
  EXPECT_EQ(heard[0].error().code, "idempotency_in_progress");
  EXPECT_TRUE(heard[1]);
}

TEST_F(JobServiceTest, KeyOfACallAnsweredAtOnce_ReplaysItsAnswer) {
  open();
  using Begun = Result<std::optional<storage::KeptAnswer>>;
  const storage::IdempotencyKey key{"/v1/completions", "k", "h"};
  const auto begin = [&](storage::IdempotencyKey one) {
    return await<Begun>([&](auto done) { service_->begin_keyed(one, std::move(done)); });
  };
  ASSERT_FALSE(*begin(key));
  EXPECT_EQ(begin(key).error().code, "idempotency_in_progress");
  bool ended = false;
  service_->end_keyed(key, storage::KeptAnswer{.status = 200, .body = "{}"}, [&] { ended = true; });
  ASSERT_TRUE(run_until([&] { return ended; }));
  const Begun replay = begin(key);
  ASSERT_TRUE(replay && *replay);
  EXPECT_EQ((*replay)->body, "{}");
  EXPECT_EQ(begin({"/v1/completions", "k", "x"}).error().code, "idempotency_key_reused");
  EXPECT_FALSE(*begin({"/v1/chat/completions", "k", "x"}));
}

TEST_F(JobServiceTest, Delete_OnlyWhatIsOver) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  const auto remove = [&](JobId one) {
    return await<Result<void>>([&](auto done) { service_->remove(one, std::move(done)); });
  };
  EXPECT_EQ(remove(job).error().code, "job_conflict");
  end(0, FakeRunner::answer("{}"));
  over(job);
  EXPECT_TRUE(remove(job));
  EXPECT_EQ(view(job).error().code, "not_found");
  EXPECT_EQ(remove(job).error().code, "not_found");
}

TEST_F(JobServiceTest, Retry_OnlyWhatHasFailed_AndWithAReceiptOfItsOwn) {
  open();
  SubmitOptions options;
  options.request_id = "req_1";
  const JobId job = submit(options);
  const auto retry = [&] {
    return await<Result<storage::JobView>>(
        [&](auto done) { service_->retry(job, std::move(done)); });
  };
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(retry().error().code, "job_conflict");
  end(0, FakeRunner::failure(AttemptOutcome::Invalid));
  EXPECT_EQ(over(job).state, JobState::Failed);
  EXPECT_FALSE(view(job)->dead_lettered);
  EXPECT_EQ(view(job)->request_id, "req_1");
  ASSERT_TRUE(retry());
  EXPECT_EQ(view(job)->request_id, "req_1.2");
  ASSERT_TRUE(runs(2));
  end(1, FakeRunner::failure(AttemptOutcome::Invalid));
  EXPECT_EQ(over(job).state, JobState::Failed);
  ASSERT_TRUE(retry());
  EXPECT_EQ(view(job)->request_id, "req_1.4");
  ASSERT_TRUE(runs(3));
  end(2, FakeRunner::answer("{}"));
  EXPECT_EQ(over(job).state, JobState::Completed);
  EXPECT_EQ(retry().error().code, "job_conflict");
}

TEST_F(JobServiceTest, Watcher_HearsOfTheEndOnceItIsOnTheDisk) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  std::vector<JobState> seen;
  const std::uint64_t watch = service_->watch(job, [&] {
    service_->view(job,
                   [&](const Result<storage::JobView>& found) { seen.push_back(found->state); });
  });
  end(0, FakeRunner::answer("{}"));
  EXPECT_TRUE(seen.empty());
  ASSERT_TRUE(run_until([&] { return !seen.empty(); }));
  EXPECT_EQ(seen, std::vector{JobState::Completed});
  service_->unwatch(watch);
}

TEST_F(JobServiceTest, EndThatCannotBeWritten_IsWrittenAgain_AndOnce) {
  auto failures = std::make_shared<std::atomic<int>>(2);
  auto settled = std::make_shared<std::atomic<int>>(0);
  on_settle_ = [failures, settled](storage::Database&,
                                   const storage::SettledJob& job) -> Result<void> {
    EXPECT_EQ(job.function, "fn");
    EXPECT_EQ(job.traceparent, "trace-1");
    if ((*failures)-- > 0) return Error{"storage_failed", "not now", ""};
    ++*settled;
    return {};
  };
  open();
  SubmitOptions options;
  options.traceparent = "trace-1";
  const JobId job = submit(std::move(options));
  ASSERT_TRUE(runs(1));
  end(0, FakeRunner::answer("{}"));
  for (std::uint64_t failed = 1; failed <= 2; ++failed) {
    ASSERT_TRUE(run_until([&] { return service_->totals().ends_rewritten == failed; }));
    EXPECT_EQ(state(job), JobState::InProgress);
    advance(2s);
  }
  EXPECT_EQ(over(job).state, JobState::Completed);
  EXPECT_EQ(*settled, 1);
  EXPECT_EQ((service_->totals().ended.at({JobState::Completed, ""})), 1U);
}

TEST_F(JobServiceTest, DamagedResult_IsAnErrorThatNamesTheJob) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  end(0, FakeRunner::answer("\"precious\""));
  over(job);
  ASSERT_TRUE(write("UPDATE jobs SET result = '\"previous\"'"));
  const auto damaged = view(job);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, "storage_failed");
  EXPECT_THAT(damaged.error().message, HasSubstr(storage::to_text(job)));
}

TEST_F(JobServiceTest, DamagedRequest_IsNotRun) {
  places_["fn"] = 1;
  open();
  submit();
  const JobId job = submit({}, "\"second\"");
  ASSERT_TRUE(write("UPDATE jobs SET body = '\"other\"' WHERE body = '\"second\"'"));
  open();
  ASSERT_TRUE(runs(1));
  end(0, FakeRunner::answer("{}"));
  for (int i = 0; i < 5 && !is_terminal(state(job)); ++i) advance(10min);
  EXPECT_EQ(over(job).code, "storage_failed");
  EXPECT_EQ(runner_->runs.size(), 1U);
}

TEST_F(JobServiceTest, Drained_RunningIsHandedBackAndNothingIsAccepted) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  service_->drain();
  EXPECT_EQ(runner_->stopped.size(), 1U);
  EXPECT_EQ(try_submit().error().code, "shutting_down");
  open();
  ASSERT_TRUE(runs(1));
  EXPECT_EQ(runner_->runs[0].job, job);
  EXPECT_EQ(view(job)->attempts, 1);  // the one before has cost none
}

TEST_F(JobServiceTest, Results_GoAfterADay) {
  open();
  const JobId job = submit();
  ASSERT_TRUE(runs(1));
  end(0, FakeRunner::answer("{}"));
  over(job);
  advance(23h);
  EXPECT_TRUE(view(job));
  advance(2h);
  EXPECT_EQ(view(job).error().code, "not_found");
}

TEST_F(JobServiceTest, List_NewestFirst_ByStateAndFunction_PageByPage) {
  places_["fn"] = 1;
  open();
  std::vector<JobId> jobs;
  for (int i = 0; i < 5; ++i) jobs.push_back(submit());
  ASSERT_TRUE(runs(1));
  const auto ids = [&](storage::JobFilter filter) {
    const auto list = await<Result<std::vector<storage::JobView>>>(
        [&](auto done) { service_->list(filter, std::move(done)); });
    std::vector<JobId> found;
    for (const storage::JobView& one : *list) found.push_back(one.id);
    return found;
  };
  EXPECT_EQ(ids({.limit = 2}), (std::vector{jobs[4], jobs[3]}));
  EXPECT_EQ(ids({.after = jobs[3], .limit = 2}), (std::vector{jobs[2], jobs[1]}));
  EXPECT_EQ(ids({.state = JobState::InProgress}), (std::vector{jobs[0]}));
  EXPECT_TRUE(ids({.function = "other"}).empty());
  EXPECT_TRUE(ids({.dead_lettered = true}).empty());
}

TEST_F(JobServiceTest, ManyAtOnce_AllOrNone) {
  open();
  const auto submit_two = [&](storage::WriteLoop::Work with) {
    std::vector<Submission> two;
    for (int line = 1; line <= 2; ++line)
      two.push_back({.request = {.function = "fn"}, .options = {.batch = 3, .batch_line = line}});
    return await<Result<std::vector<JobId>>>(
        [&](auto done) { service_->submit_all(std::move(two), std::move(with), std::move(done)); });
  };
  EXPECT_FALSE(submit_two([](storage::Database&) -> Result<void> {
    return Error{"storage_failed", "no", ""};
  }));
  EXPECT_EQ(service_->counts().queued + service_->counts().running, 0U);
  const auto both = submit_two({});
  ASSERT_TRUE(both);
  ASSERT_EQ(both->size(), 2U);
  EXPECT_EQ(view((*both)[1])->batch_line, 2);
}

}  // namespace
}  // namespace glowplug::queue
