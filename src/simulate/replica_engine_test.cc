#include "simulate/replica_engine.h"

#include <gtest/gtest.h>

namespace glowplug::simulate {
namespace {

constexpr domain::CallId kA{1}, kB{2};

// Reads 100 tokens a second; a step takes 10 ms and 10 ms more for each answer, 100 ms beside a
// prompt.
ModelProfile profile() {
  ModelProfile made;
  made.prefill_tokens_per_s = 100;
  made.step = 10ms;
  made.step_stream = 10ms;
  made.step_mixed = 100ms;
  return made;
}

// Runs to the next thing that happens; its moment in seconds of work is added to `at`.
ReplicaEngine::Happening run(ReplicaEngine& engine, double& at) {
  const std::optional<double> next = engine.next();
  EXPECT_TRUE(next.has_value());
  engine.advance(*next);
  at += *next;
  const auto happening = engine.take();
  EXPECT_TRUE(happening.has_value());
  return *happening;
}

TEST(ReplicaEngine, OneCall_ReadsThenAnswersAlone) {
  ReplicaEngine engine(profile());
  EXPECT_TRUE(engine.is_idle());
  EXPECT_FALSE(engine.next());
  engine.add({kA, 200, 51});
  double at = 0;
  EXPECT_EQ(run(engine, at).due, ReplicaEngine::Due::FirstToken);
  EXPECT_NEAR(at, 2.0, 1e-9);
  EXPECT_EQ(run(engine, at).due, ReplicaEngine::Due::Done);
  EXPECT_NEAR(at, 2.0 + 50 * 0.020, 1e-9);
  EXPECT_TRUE(engine.is_idle());
}

TEST(ReplicaEngine, AnswerOfOneToken_IsDoneWithItsFirst) {
  ReplicaEngine engine(profile());
  engine.add({kA, 100, 1});
  double at = 0;
  EXPECT_EQ(run(engine, at).due, ReplicaEngine::Due::FirstToken);
  EXPECT_EQ(run(engine, at).due, ReplicaEngine::Due::Done);
  EXPECT_NEAR(at, 1.0, 1e-9);
}

TEST(ReplicaEngine, TwoAnswers_ShareEachStep) {
  ReplicaEngine engine(profile());
  engine.add({kA, 1, 1001});
  engine.add({kB, 1, 1001});
  double at = 0;
  EXPECT_EQ(run(engine, at).call, kA);
  EXPECT_EQ(run(engine, at).call, kB);
  const double began = at;
  EXPECT_EQ(run(engine, at).call, kA);
  EXPECT_NEAR(at - began, 1000 * 0.030, 0.1);  // 10 + 2 × 10 ms a step
}

// 10 tokens a second go on while 100 ms steps spend 80 of them on the prompt.
TEST(ReplicaEngine, PromptBesideAnAnswer_SlowsBoth) {
  ReplicaEngine engine(profile());
  engine.add({kA, 1, 1001});
  double at = 0;
  run(engine, at);
  engine.add({kB, 80, 10});
  at = 0;
  EXPECT_EQ(run(engine, at).call, kB);
  EXPECT_NEAR(at, 1.0, 1e-9);
}

TEST(ReplicaEngine, SecondPrompt_WaitsForTheFirst) {
  ReplicaEngine engine(profile());
  engine.add({kA, 100, 1});
  engine.add({kB, 100, 1});
  double at = 0;
  EXPECT_EQ(run(engine, at).call, kA);
  EXPECT_EQ(run(engine, at).call, kA);
  EXPECT_EQ(run(engine, at).call, kB);
  EXPECT_NEAR(at, 2.0, 1e-9);
}

TEST(ReplicaEngine, CallThatLeaves_GivesItsPartBack) {
  ReplicaEngine engine(profile());
  engine.add({kA, 1000, 1});
  engine.add({kB, 100, 1});
  engine.advance(1);
  EXPECT_TRUE(engine.drop(kA));
  EXPECT_FALSE(engine.drop(kA));
  double at = 1;
  EXPECT_EQ(run(engine, at).call, kB);
  EXPECT_NEAR(at, 2.0, 1e-9);
  EXPECT_EQ(engine.calls(), std::vector<domain::CallId>{kB});
}

}  // namespace
}  // namespace glowplug::simulate
