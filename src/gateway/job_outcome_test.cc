#include "gateway/job_outcome.h"

#include "gateway/test_job_runner.h"

namespace glowplug::gateway {
namespace {

TEST_F(JobRunnerTest, Refusals_SayWhoseFaultTheyAre) {
  struct Case {
    const char* code;
    bool quarantined;
    AttemptOutcome outcome;
  };
  for (const Case& one : {Case{"queue_full", false, AttemptOutcome::NoCapacity},
                          Case{"server_is_overloaded", false, AttemptOutcome::NoCapacity},
                          Case{"function_failed", true, AttemptOutcome::NoCapacity},
                          Case{"function_failed", false, AttemptOutcome::FunctionFailed},
                          Case{"source_unreachable", false, AttemptOutcome::FunctionFailed},
                          Case{"does_not_fit", false, AttemptOutcome::FunctionFailed},
                          Case{"shutting_down", false, AttemptOutcome::HandedBack},
                          Case{"insufficient_quota", false, AttemptOutcome::NoCapacity},
                          Case{"model_not_found", false, AttemptOutcome::Invalid},
                          Case{"invalid_value", false, AttemptOutcome::Invalid}}) {
    SCOPED_TRACE(one.code);
    platform_.views["fn"].quarantined = one.quarantined;
    platform_.refusal = Error{one.code, "Said by the platform.", ""};
    const queue::AttemptAnswer answer = run();
    EXPECT_EQ(answer.outcome, one.outcome);
    EXPECT_EQ(answer.code, one.code);
    EXPECT_EQ(answer.message, "Said by the platform.");
    EXPECT_EQ(answer.retry_after, std::chrono::seconds(7));
    const std::string client = talk(chat(), answer.body);
    EXPECT_TRUE(client.ends_with("\r\n\r\n" + answer.body)) << client;
  }
  EXPECT_EQ(platform_.finished + platform_.abandoned, 0);
}

TEST_F(JobRunnerTest, EnginesErrors_SayWhoseFaultTheyAre) {
  const std::string body = R"({"error":{"message":"so it is"}})";
  scripts_ = {whole(body, "400 Bad Request"), whole(body, "500 Internal Server Error"),
              whole(body, "429 Too Many Requests")};
  const queue::AttemptAnswer bad = run();
  EXPECT_EQ(bad.outcome, AttemptOutcome::Invalid);
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.message, "so it is");
  const queue::AttemptAnswer failed = run();
  EXPECT_EQ(failed.outcome, AttemptOutcome::FunctionFailed);
  EXPECT_EQ(failed.status, 500);
  EXPECT_EQ(run().outcome, AttemptOutcome::NoCapacity);
}

TEST_F(JobRunnerTest, ProcessesOwnWords_AreItsAnswerUnlessItFailed) {
  const char* path = "/v1/functions/proc/invoke";
  const std::string unknown = R"({"statusCode":404,"body":"no such cat"})";
  const std::string failed = R"({"statusCode":500,"body":"no cats left"})";
  scripts_ = {whole(unknown), whole(failed)};
  const queue::AttemptAnswer own = run(path, "{}");
  EXPECT_EQ(own.outcome, AttemptOutcome::Answered);
  EXPECT_EQ(own.status, 404);
  EXPECT_EQ(own.body, unknown);
  const queue::AttemptAnswer broken = run(path, "{}");
  EXPECT_EQ(broken.outcome, AttemptOutcome::FunctionFailed);
  EXPECT_EQ(broken.status, 500);
  EXPECT_EQ(broken.body, failed);
  EXPECT_EQ(broken.code, "function_failed");
}

TEST(JobOutcome, BrokenReplicaOfAServerThatStops_IsHandedBack) {
  const CallFault broke{.code = "replica_failed", .status = 502, .replica_broke = true};
  EXPECT_EQ(outcome_of(broke, Granted::Yes, Standing::Leaving), AttemptOutcome::HandedBack);
  EXPECT_EQ(outcome_of(broke, Granted::Yes, Standing::Quarantined), AttemptOutcome::Crashed);
  EXPECT_EQ(outcome_of(broke, Granted::No, Standing::Sound), AttemptOutcome::NoCapacity);
}

}  // namespace
}  // namespace glowplug::gateway
