#include "gateway/job_runner.h"

#include "gateway/test_job_runner.h"

namespace glowplug::gateway {
namespace {

using policy::Payer;
using testing::HasSubstr;

struct Asked {
  const char* path;
  std::string body;
  std::string answer = kAnswer;  // of the replica
};

std::vector<Asked> sound_requests() {
  return {
      {kChat, kMessage},
      {"/v1/completions", R"({"model":"fn","prompt":"x","n":2})"},
      {"/v1/responses", R"({"model":"fn","input":"x"})",
       R"({"model":"m","object":"response","usage":{"input_tokens":4,"output_tokens":2}})"},
      {"/v1/messages",
       R"({"model":"fn","max_tokens":5,"messages":[{"role":"user","content":"x"}]})",
       R"({"model":"m","type":"message","usage":{"input_tokens":4,"output_tokens":2}})"},
      {"/v1/embeddings", R"({"model":"embed","input":["a","b"]})",
       R"({"model":"m","data":[],"usage":{"prompt_tokens":4,"total_tokens":4}})"},
      {"/v1/rerank", R"({"model":"rank","query":"a","documents":["b"]})",
       R"({"model":"m","results":[]})"},
      {kInvoke, R"({"body":{"prompt":"hello"}})"},
      {kInvoke, R"({"body":"{\"prompt\":\"hello\",\"return_full_text\":false}"})"},
      {kInvoke, R"({"specversion":"1.0","data":{"messages":[{"role":"user","content":"x"}]}})"},
      {"/v1/invoke", R"({"body":{"model":"fn","prompt":"hello"}})"},
      {"/v1/functions/proc/invoke", R"({"whatever":[1,2]})", R"({"statusCode":201,"body":"made"})"},
  };
}

TEST_F(JobRunnerTest, Answers_AreThoseOfASynchronousCaller) {
  for (const Asked& asked : sound_requests()) {
    SCOPED_TRACE(std::string(asked.path) + " " + asked.body);
    EXPECT_TRUE(runner().check(request(asked.path, asked.body)).ok());
    scripts_ = {whole(asked.answer), whole(asked.answer)};
    const queue::AttemptAnswer answer = run(asked.path, asked.body);
    const std::string seen_of_job = seen_;
    EXPECT_EQ(answer.outcome, AttemptOutcome::Answered);
    EXPECT_TRUE(answer.code.empty() && answer.message.empty());
    const std::string client = talk(post(asked.path, asked.body), answer.body);
    EXPECT_TRUE(client.starts_with("HTTP/1.1 " + std::to_string(answer.status)));
    EXPECT_TRUE(client.ends_with("\r\n\r\n" + answer.body)) << client << "\n" << answer.body;
    EXPECT_EQ(seen_, seen_of_job);
  }
}

TEST_F(JobRunnerTest, FaultsOfRequests_AreThoseOfASynchronousCaller) {
  const std::vector<std::pair<const char*, const char*>> faulty = {
      {kChat, "{\"model\":"},
      {kChat, R"({"messages":[]})"},
      {kChat, R"({"model":"none","messages":[]})"},
      {kChat, R"({"model":"gpt2","messages":[]})"},
      {kChat, R"({"model":"../x","messages":[]})"},
      {kChat, R"({"model":"fn","messages":[]})"},
      {kChat, R"({"model":"fn","messages":[{"role":"user","content":"x"}],"stream":"yes"})"},
      {kChat, R"({"model":"fn","messages":[{"role":"user","content":"x"}],"temperature":9})"},
      {"/v1/completions", R"({"model":"fn"})"},
      {"/v1/embeddings", R"({"model":"fn","input":"x"})"},
      {"/v1/embeddings", R"({"model":"embed","input":""})"},
      {"/v1/rerank", R"({"model":"rank","query":"x"})"},
      {"/v1/responses", R"({"model":"fn"})"},
      {"/v1/messages", R"({"model":"fn","messages":[]})"},
      {kInvoke, "{}"},
      {kInvoke, R"({"body":7})"},
      {kInvoke, R"({"body":"{"})"},
      {kInvoke, R"({"body":{}})"},
      {kInvoke, R"({"body":{"prompt":"x","model":"other"}})"},
      {kInvoke, R"({"body":{"prompt":"x","max_tokens":-1}})"},
      {"/v1/functions/none/invoke", R"({"body":{"prompt":"x"}})"},
      {"/v1/functions/proc/invoke", "[]"},
      {"/v1/invoke", R"({"body":{"prompt":"x"}})"},
  };
  for (const auto& [path, body] : faulty) {
    SCOPED_TRACE(std::string(path) + " " + body);
    const Result<void> checked = runner().check(request(path, body));
    ASSERT_FALSE(checked.ok());
    const queue::AttemptAnswer answer = run(path, body);
    EXPECT_EQ(answer.outcome, AttemptOutcome::Invalid);
    EXPECT_EQ(answer.code, checked.error().code);
    EXPECT_EQ(answer.message, checked.error().message);
    if (std::string_view(path) == "/v1/messages") continue;  // it holds the request's own id
    const std::string client = talk(post(path, body), answer.body);
    EXPECT_TRUE(client.starts_with("HTTP/1.1 " + std::to_string(answer.status))) << client;
    EXPECT_TRUE(client.ends_with("\r\n\r\n" + answer.body)) << client << "\n" << answer.body;
  }
  EXPECT_EQ(platform_.calls, 0u);
}

TEST_F(JobRunnerTest, RouteThatMakesNoJobs_IsRefusedByName) {
  for (const char* path : {"/v1/models", "/nope", "", "/v1/messages/count_tokens"}) {
    const Result<void> checked = runner().check(request(path, kMessage));
    ASSERT_FALSE(checked.ok()) << path;
    EXPECT_EQ(checked.error().code, "unsupported_value");
    EXPECT_THAT(checked.error().message, HasSubstr("`" + std::string(path) + "`"));
  }
}

TEST_F(JobRunnerTest, StreamAndBackground_AreNoMatterOfTheReplicas) {
  scripts_ = {whole(kAnswer), whole(kAnswer)};
  EXPECT_EQ(run(kChat, R"({"model":"fn","messages":[{"role":"user","content":"x"}],)"
                       R"("stream":true,"stream_options":{"include_usage":true}})")
                .outcome,
            AttemptOutcome::Answered);
  EXPECT_FALSE(has(seen_, "stream")) << seen_;
  const char* background = R"({"model":"fn","input":"x","background":true,"stream":true})";
  EXPECT_EQ(run("/v1/responses", background).outcome, AttemptOutcome::Answered);
  EXPECT_FALSE(has(seen_, "stream") || has(seen_, "background")) << seen_;
}

TEST_F(JobRunnerTest, Course_IsToldInOrderAndNotBeforeStartHasReturned) {
  scripts_ = {whole(kAnswer)};
  platform_.granting.cold = true;
  platform_.granting.waited[domain::Phase::Load] = std::chrono::milliseconds(250);
  Told told;
  begin(told);
  EXPECT_TRUE(told.order.empty());
  EXPECT_EQ(platform_.calls, 0u);
  const queue::AttemptAnswer answer = end_of(told);
  EXPECT_EQ(told.order, (std::vector<std::string>{"granted", "progressed", "ended"}));
  EXPECT_TRUE(answer.cold);
  EXPECT_EQ(answer.revision, 3);
  EXPECT_EQ(answer.phases[domain::Phase::Load], std::chrono::milliseconds(250));
  EXPECT_TRUE(answer.phases[domain::Phase::Prefill].has_value());
  EXPECT_EQ(answer.prompt_tokens, 9);
  EXPECT_EQ(answer.cached_tokens, 7);
  EXPECT_EQ(answer.completion_tokens, 2);
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::Answered});
}

TEST_F(JobRunnerTest, TokensOfAMessage_AreThoseOfTheWholePrompt) {
  scripts_ = {whole(R"({"model":"m","usage":{"input_tokens":4,"cache_read_input_tokens":6,)"
                    R"("output_tokens":2}})")};
  const queue::AttemptAnswer answer =
      run("/v1/messages",
          R"({"model":"fn","max_tokens":5,"messages":[{"role":"user","content":"x"}]})");
  EXPECT_EQ(answer.prompt_tokens, 10);
  EXPECT_EQ(answer.cached_tokens, 6);
}

TEST_F(JobRunnerTest, CallersSalt_IsTheCallsCacheDomain) {
  scripts_ = {whole(kAnswer), whole(kAnswer)};
  run(kChat, R"({"model":"fn","messages":[{"role":"user","content":"x"}],"cache_salt":"own"})");
  queue::JobRequest salted = request(kChat, kMessage);
  salted.domain_salt = "callers";
  Told told;
  runner().start({2}, 1, salted, hear(told));
  end_of(told);
  EXPECT_EQ(platform_.salts, (std::vector<std::string>{"own", "callers"}));
}

TEST_F(JobRunnerTest, BatchJob_IsABatchCall) {
  using domain::JobUrgency;
  scripts_ = {whole(kAnswer), whole(kAnswer)};
  run();
  queue::JobRequest batch = request(kChat, kMessage);
  batch.urgency = JobUrgency::Batch;
  Told told;
  runner().start({2}, 1, batch, hear(told));
  end_of(told);
  EXPECT_EQ(platform_.urgencies, (std::vector{JobUrgency::Interactive, JobUrgency::Batch}));
}

// --- one attempt is one call; the next knows of it ---

TEST_F(JobRunnerTest, ReplicaBreaks_IsNotTriedAgainHere) {
  scripts_ = {"", whole(kAnswer)};
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::Crashed);
  EXPECT_FALSE(answer.blamed);
  EXPECT_EQ(answer.code, "replica_failed");
  EXPECT_EQ(answer.status, 502);
  EXPECT_EQ(platform_.calls, 1u);
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::ReplicaBroke});
}

TEST_F(JobRunnerTest, AttemptsAfterABrokenOne_NameItsCall) {
  scripts_ = {"", "", whole(kAnswer), whole(kAnswer), whole(kAnswer)};
  const JobId job{7};
  EXPECT_EQ(run(kChat, kMessage, job).outcome, AttemptOutcome::Crashed);
  EXPECT_EQ(run(kChat, kMessage, job).outcome, AttemptOutcome::Crashed);
  EXPECT_EQ(run(kChat, kMessage, {8}).outcome, AttemptOutcome::Answered);
  EXPECT_EQ(run(kChat, kMessage, job).outcome, AttemptOutcome::Answered);
  EXPECT_EQ(run(kChat, kMessage, job).outcome, AttemptOutcome::Answered);  // as after a redrive
  const std::optional<domain::CallId> first = domain::CallId{1}, none;
  EXPECT_EQ(platform_.retries_of, (std::vector{none, first, none, first, none}));
  EXPECT_TRUE(has(talk(get("/metrics"), "retries_total 2"), "glowplug_call_retries_total 2"));
}

TEST_F(JobRunnerTest, AttemptThatIsRefusedMeanwhile_ForgetsNothing) {
  scripts_ = {"", whole(kAnswer)};
  run();
  platform_.retry_refusal = Error{"replica_failed", "Enough is tried again.", ""};
  const queue::AttemptAnswer refused = run();
  EXPECT_EQ(refused.outcome, AttemptOutcome::NoCapacity);
  EXPECT_FALSE(refused.blamed);
  platform_.retry_refusal.reset();
  EXPECT_EQ(run().outcome, AttemptOutcome::Answered);
  EXPECT_EQ(platform_.retries_of.back(), std::optional(domain::CallId{1}));
}

TEST_F(JobRunnerTest, JobThatKillsReplicas_IsBlamed) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  EXPECT_FALSE(run().blamed);
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::Crashed);
  EXPECT_TRUE(answer.blamed);
  EXPECT_EQ(answer.code, "poisonous_request");
  EXPECT_EQ(answer.status, 422);
}

TEST_F(JobRunnerTest, ServerThatStops_HandsBackUnasked) {
  platform_.admits = false;
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::HandedBack);
  EXPECT_EQ(answer.code, "shutting_down");
  EXPECT_EQ(runner().check(request(kChat, kMessage)).error().code, "shutting_down");
  EXPECT_EQ(platform_.calls, 0u);
}

TEST_F(JobRunnerTest, FunctionThatIsGoneByNow_IsA404) {
  EXPECT_TRUE(runner().check(request(kChat, kMessage)).ok());
  platform_.views.erase("fn");
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::Invalid);
  EXPECT_EQ(answer.code, "model_not_found");
  EXPECT_EQ(answer.status, 404);
}

TEST_F(JobRunnerTest, LongerThanTheFunctionsTimeout_IsTimedOut) {
  platform_.views["fn"].manifest.limits.timeout = std::chrono::milliseconds(1);
  scripts_ = {std::string(kSilent)};
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::TimedOut);
  EXPECT_EQ(answer.status, 504);
  EXPECT_EQ(answer.code, "deadline_exceeded");
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1; }));
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::Stopped});
  EXPECT_EQ(health_asked_, 1);
  EXPECT_TRUE(run_until([this] { return replica_closed_ == 2; }));  // the question's as well
}

TEST_F(JobRunnerTest, SomethingThrows_IsAFaultOfOursAndAnEnd) {
  platform_.throws = true;
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::FunctionFailed);
  EXPECT_EQ(answer.code, "server_error");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(gateway_->calls().open_count(), 0u);
  EXPECT_EQ(gateway_->calls().ended_count(CallFate::Broken), 1u);
}

// --- stopping ---

TEST_F(JobRunnerTest, StoppedAtOnce_NeverBecomesACall) {
  Told told;
  begin(told);
  runner().stop({1}, 1, Payer::Caller);
  settle();
  EXPECT_EQ(platform_.calls, 0u);
  EXPECT_EQ(told.order, std::vector<std::string>{"stopped"});
  EXPECT_EQ(told.stops, 1);
  EXPECT_EQ(gateway_->calls().ended_count(CallFate::Cancelled), 1u);
  EXPECT_EQ(gateway_->calls().open_count(), 0u);
}

TEST_F(JobRunnerTest, StoppedWhileItWaits_IsAbandonedOnce) {
  platform_.hold = true;
  Told told;
  begin(told);
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  runner().stop({1}, 2, Payer::Caller);  // another attempt's
  settle();
  EXPECT_EQ(platform_.abandoned, 0);
  runner().stop({1}, 1, Payer::Caller);
  runner().stop({1}, 1, Payer::Caller);
  settle();
  EXPECT_EQ(platform_.abandoned, 1);
  EXPECT_EQ(platform_.finished, 0);
  EXPECT_EQ(told.order, std::vector<std::string>{"stopped"});
  EXPECT_EQ(told.stops, 1);
}

TEST_F(JobRunnerTest, StoppedWhileItRuns_FreesItsSlotOnceAndIsHeardNoMore) {
  scripts_ = {std::string(kSilent)};
  Told told;
  begin(told);
  EXPECT_TRUE(run_until([this] { return !seen_.empty(); }));
  runner().stop({1}, 1, Payer::Caller);
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1 && replica_closed_ == 1; }));
  runner().stop({1}, 1, Payer::Caller);
  settle();
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::Stopped});
  EXPECT_EQ(platform_.abandoned, 0);
  EXPECT_EQ(told.order, (std::vector<std::string>{"granted", "stopped"}));
  EXPECT_EQ(told.stops, 1);
}

TEST_F(JobRunnerTest, StoppedAsItIsGranted_IsNotSent) {
  Told told;
  queue::JobRunner::Heard heard = hear(told);
  heard.granted = [this] { runner().stop({1}, 1, Payer::Caller); };
  runner().start({1}, 1, request(kChat, kMessage), std::move(heard));
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1; }));
  settle();
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::Unsent});
  EXPECT_TRUE(seen_.empty());
  EXPECT_EQ(told.stops, 1);
}

TEST_F(JobRunnerTest, StoppedAfterItsEnd_ChangesNothing) {
  scripts_ = {whole(kAnswer)};
  Told told;
  begin(told);
  end_of(told);
  runner().stop({1}, 1, Payer::Caller);
  settle();
  EXPECT_EQ(platform_.finished, 1);
  EXPECT_EQ(told.ends, 1);
  EXPECT_EQ(told.stops, 0);
}

TEST_F(JobRunnerTest, GatewayGoes_NothingMoreIsHeardOrAsked) {
  platform_.hold = true;
  Told told;
  begin(told);
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  platform_.gone = true;
  gateway_.reset();
  EXPECT_TRUE(told.order.empty());
  EXPECT_EQ(platform_.abandoned, 0);
}

TEST_F(JobRunnerTest, GatewayGoesBeforeAStoppedOneIsDone_NothingIsHeard) {
  platform_.hold = true;
  Told told;
  begin(told);
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  runner().stop({1}, 1, Payer::Caller);
  platform_.gone = true;
  gateway_.reset();
  EXPECT_TRUE(told.order.empty());
}

// --- counted and told like any call ---

TEST_F(JobRunnerTest, Attempt_IsCountedAndFoundByItsJob) {
  scripts_ = {whole(kAnswer)};
  const queue::AttemptAnswer answer = run(kChat, kMessage, {0x12d6870000002a});
  const CallCounts& calls = gateway_->calls();
  EXPECT_EQ(calls.arrived_count(), 1u);
  EXPECT_EQ(calls.ended_count(CallFate::Answered), 1u);
  const std::string job = "job_0012d6870000002a";
  for (const std::string& id : {answer.request_id, job}) {
    const std::string why = talk(get("/v1/functions/fn/why/" + id), "]}");
    EXPECT_TRUE(has(why, "\"request\":\"" + answer.request_id + "\"")) << why;
    EXPECT_TRUE(has(why, "\"job\":\"" + job + "\""));
    EXPECT_TRUE(has(why, R"("path":"/v1/chat/completions")"));
    EXPECT_TRUE(has(why, R"("outcome":"answered")"));
  }
  const std::string completion = "glowplug_tokens_total{function=\"fn\",kind=\"completion\"} 2";
  EXPECT_TRUE(has(talk(get("/metrics"), completion), completion));
}

TEST_F(JobRunnerTest, EndsThatAreNoAnswers_AreCountedByTheirReason) {
  const CallCounts& calls = gateway_->calls();
  platform_.refusal = Error{"queue_full", "512 calls wait.", ""};
  run();
  EXPECT_EQ(calls.ended_count(CallFate::Refused), 1u);
  run(kChat, "{");
  EXPECT_EQ(calls.ended_count(CallFate::Refused), 2u);
  platform_.refusal.reset();
  run();  // no script: it closes
  EXPECT_EQ(calls.ended_count(CallFate::Broken), 1u);
  EXPECT_EQ(calls.open_count(), 0u);
}

}  // namespace
}  // namespace glowplug::gateway
