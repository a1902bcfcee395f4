#include "runtime/sleep_steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

using domain::EngineSleep;
using domain::SleepKind;
using ::testing::ElementsAre;

std::vector<std::string> asked(const std::vector<SleepStep>& steps) {
  std::vector<std::string> lines;
  for (const SleepStep& step : steps)
    lines.push_back((step.method == HttpMethod::Get ? "GET " : "POST ") + step.target +
                    (step.body.empty() ? "" : " " + step.body));
  return lines;
}

TEST(SleepSteps, VllmLevelOne_SleepsAndWakesAndIsAskedWhetherItDid) {
  const EngineSleep how{.kind = SleepKind::Vllm, .level = 1};
  EXPECT_THAT(asked(sleep_steps(how)), ElementsAre("POST /sleep?level=1", "GET /is_sleeping"));
  EXPECT_EQ(sleep_steps(how).back().until, Until::SaysAsleep);
  EXPECT_THAT(asked(wake_steps(how)), ElementsAre("POST /wake_up", "GET /is_sleeping"));
  EXPECT_EQ(wake_steps(how).back().until, Until::SaysAwake);
}

TEST(SleepSteps, VllmLevelTwo_ReadsItsWeightsBeforeItsCacheIsBack) {
  const EngineSleep how{.kind = SleepKind::Vllm, .level = 2};
  EXPECT_THAT(asked(sleep_steps(how)), ElementsAre("POST /sleep?level=2", "GET /is_sleeping"));
  EXPECT_THAT(
      asked(wake_steps(how)),
      ElementsAre("POST /wake_up?tags=weights",
                  "POST /collective_rpc {\"method\":\"reload_weights\"}",
                  "POST /wake_up?tags=kv_cache", "GET /is_sleeping", "POST /reset_prefix_cache"));
}

TEST(SleepSteps, Sglang_ReleasesAndResumesAndMustGenerate) {
  const EngineSleep how{.kind = SleepKind::Sglang};
  EXPECT_THAT(asked(sleep_steps(how)), ElementsAre("POST /release_memory_occupation {}"));
  EXPECT_THAT(asked(wake_steps(how)),
              ElementsAre("POST /resume_memory_occupation {}", "GET /health_generate"));
  EXPECT_EQ(wake_steps(how).back().until, Until::Healthy);
}

TEST(SleepJudge, Accepted_TakesAnySuccessAndNothingElse) {
  const SleepStep step{.target = "/sleep", .until = Until::Accepted};
  EXPECT_EQ(judge(step, {200, ""}), Verdict::Done);
  EXPECT_EQ(judge(step, {204, ""}), Verdict::Done);
  for (const int status : {199, 302, 404, 500})
    EXPECT_EQ(judge(step, {status, ""}), Verdict::Failed) << status;
}

TEST(SleepJudge, State_IsAskedForAgainUntilItIsReached) {
  const SleepStep asleep{.target = "/is_sleeping", .until = Until::SaysAsleep};
  const SleepStep awake{.target = "/is_sleeping", .until = Until::SaysAwake};
  const std::string yes = R"({"is_sleeping":true,"more":1})", no = R"({"is_sleeping": false})";
  EXPECT_EQ(judge(asleep, {200, yes}), Verdict::Done);
  EXPECT_EQ(judge(asleep, {200, no}), Verdict::Again);
  EXPECT_EQ(judge(awake, {200, no}), Verdict::Done);
  EXPECT_EQ(judge(awake, {200, yes}), Verdict::Again);
}

TEST(SleepJudge, StateThatIsNotSaid_IsAFailure) {
  const SleepStep step{.target = "/is_sleeping", .until = Until::SaysAsleep};
  EXPECT_EQ(judge(step, {404, R"({"is_sleeping":true})"}), Verdict::Failed);
  for (const char* body : {"", "true", "[]", "{}", R"({"is_sleeping":"true"})", "{"})
    EXPECT_EQ(judge(step, {200, body}), Verdict::Failed) << body;
}

TEST(SleepJudge, Health_IsAskedForAgainUntilItIsThere) {
  const SleepStep step{.target = "/health_generate", .until = Until::Healthy};
  EXPECT_EQ(judge(step, {503, ""}), Verdict::Again);
  EXPECT_EQ(judge(step, {200, ""}), Verdict::Done);
}

TEST(SleepWords, NameTheStepAndWhatCameOfIt) {
  const SleepStep step{.method = HttpMethod::Post, .target = "/wake_up"};
  EXPECT_EQ(in_words(step, ReplicaReply{500, ""}), "POST /wake_up answered 500");
  EXPECT_EQ(in_words(step, ReplicaReply{500, "CUDA out of memory"}),
            "POST /wake_up answered 500: CUDA out of memory");
  EXPECT_EQ(in_words(step, Error{"replica_failed", "Connection refused", ""}),
            "POST /wake_up: Connection refused");
  EXPECT_LT(in_words(step, ReplicaReply{500, std::string(5000, 'x')}).size(), 300u);
}

}  // namespace
}  // namespace glowplug::runtime
