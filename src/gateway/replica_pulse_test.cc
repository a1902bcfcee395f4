#include "gateway/replica_pulse.h"

#include "gateway/test_job_runner.h"

namespace glowplug::gateway {
namespace {

class PulseTest : public JobRunnerTest {
 protected:
  PulseTest() : JobRunnerTest(std::chrono::milliseconds(2)) {}
};

TEST_F(PulseTest, ReplicaThatLives_IsProgressWithoutAByte) {
  scripts_ = {std::string(kSilent)};
  Told told;
  begin(told);
  EXPECT_TRUE(run_until([&told] { return told.progressed >= 5; }));
  EXPECT_EQ(told.ends, 0);
  runner().stop({1}, 1, policy::Payer::Caller);
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1; }));
  settle();
}

TEST_F(PulseTest, ReplicaThatIsSilent_IsLostLikeOneThatBroke) {
  scripts_ = {std::string(kSilent)};
  healthy_ = false;
  const queue::AttemptAnswer answer = run();
  EXPECT_EQ(answer.outcome, AttemptOutcome::Crashed);
  EXPECT_EQ(health_asked_, domain::kReplicaPulsesMissed);
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::ReplicaBroke});
}

TEST_F(PulseTest, UsersProcess_IsNotAsked) {
  scripts_ = {std::string(kSilent), std::string(kSilent)};
  Told ours, theirs;
  begin(theirs, {1}, 1, "/v1/functions/proc/invoke", "{}");
  begin(ours, {2}, 1);
  EXPECT_TRUE(run_until([&ours] { return ours.progressed >= 5; }));
  EXPECT_EQ(theirs.progressed, 0);
  EXPECT_EQ(theirs.order, std::vector<std::string>{"granted"});
  runner().stop({1}, 1, policy::Payer::Caller);
  runner().stop({2}, 1, policy::Payer::Caller);
  EXPECT_TRUE(run_until([this] { return platform_.finished == 2; }));
  settle();
}

// Three misses take too long for attempts that end before: the replica would get one after the
// other.
class LastPulseTest : public JobRunnerTest {
 protected:
  LastPulseTest() : JobRunnerTest(std::chrono::milliseconds(200)) {}
  control::CallOutcome outcome_of_a_stopped_attempt() {
    scripts_ = {std::string(kSilent)};
    Told told;
    begin(told);
    EXPECT_TRUE(run_until([this] { return !seen_.empty(); }));
    runner().stop({1}, 1, policy::Payer::Platform);
    EXPECT_TRUE(run_until([&told] { return told.stops == 1; }));  // without waiting for the replica
    EXPECT_TRUE(healthy_ || platform_.finished == 0);
    EXPECT_TRUE(run_until([this] { return platform_.finished == 1; }));
    settle();
    return platform_.outcomes.at(0);
  }
};

TEST_F(LastPulseTest, ReplicaThatAnswersNothing_BreaksWhenItsAttemptIsStopped) {
  healthy_ = false;
  EXPECT_EQ(outcome_of_a_stopped_attempt(), control::CallOutcome::ReplicaBroke);
  EXPECT_GE(health_asked_, domain::kReplicaPulsesMissed);
}

TEST_F(LastPulseTest, ReplicaThatAnswers_LosesNothingByAnAttemptThatIsStopped) {
  EXPECT_EQ(outcome_of_a_stopped_attempt(), control::CallOutcome::Stopped);
  EXPECT_GE(health_asked_, 1);
}

}  // namespace
}  // namespace glowplug::gateway
