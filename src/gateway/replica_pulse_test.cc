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

}  // namespace
}  // namespace glowplug::gateway
