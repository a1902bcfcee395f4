#include "runtime/process_end.h"

#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

using control::Ending;
using domain::ExitReason;

siginfo_t exited(int status) {
  siginfo_t info{};
  info.si_code = CLD_EXITED;
  info.si_status = status;
  return info;
}

siginfo_t signalled(int signal, int code = CLD_KILLED) {
  siginfo_t info{};
  info.si_code = code;
  info.si_status = signal;
  return info;
}

ExitReason reason(const EndFacts& facts, const siginfo_t& info) {
  return end_of(facts, info, std::nullopt).reason;
}

EndFacts asked(ExitReason as = ExitReason::Stopped, const std::string& cause = "stopped") {
  EndFacts facts;
  facts.ask(cause, as);
  return facts;
}

TEST(ProcessEndTest, ByItself_StatusAndSignalTellItApart) {
  EXPECT_EQ(reason({}, exited(0)), ExitReason::Exited);
  EXPECT_EQ(reason({}, exited(3)), ExitReason::ExitError);
  EXPECT_EQ(reason({}, signalled(SIGSEGV, CLD_DUMPED)), ExitReason::Crashed);
  EXPECT_EQ(reason({}, signalled(SIGABRT)), ExitReason::Crashed);
  EXPECT_EQ(reason({}, signalled(SIGSYS)), ExitReason::Sandbox);
  EXPECT_EQ(reason({}, signalled(SIGTERM)), ExitReason::Killed);
  EXPECT_EQ(reason({}, signalled(SIGKILL)), ExitReason::Killed);
}

TEST(ProcessEndTest, WorkerSaidThatItFailed_IsAFailedLoadHoweverItEnds) {
  EndFacts facts;
  facts.failed = "the file is cut short";
  EXPECT_EQ(reason(facts, exited(1)), ExitReason::LoadFailed);
  facts.ask("failed and did not exit", ExitReason::LoadFailed);
  facts.kill_sent = true;
  EXPECT_EQ(reason(facts, signalled(SIGKILL)), ExitReason::LoadFailed);
}

TEST(ProcessEndTest, AskedAndObeyed_IsWhatItWasAskedAs) {
  EXPECT_EQ(reason(asked(), exited(0)), ExitReason::Stopped);
  EXPECT_EQ(reason(asked(), signalled(SIGTERM)), ExitReason::Stopped);
  EndFacts stalled = asked(ExitReason::LoadStalled, "no progress");
  stalled.kill_sent = true;
  EXPECT_EQ(reason(stalled, signalled(SIGKILL)), ExitReason::LoadStalled);
}

TEST(ProcessEndTest, FirstToAskCounts_ExceptThatAStopBecomesOverdue) {
  EndFacts facts = asked();
  facts.ask("killed", ExitReason::SleepFailed);
  EXPECT_EQ(facts.asked_as, ExitReason::Stopped);
  facts.ask("", ExitReason::StopOverdue);
  EXPECT_EQ(facts.asked, "stopped");
  facts.kill_sent = true;
  EXPECT_EQ(reason(facts, signalled(SIGKILL)), ExitReason::StopOverdue);
}

TEST(ProcessEndTest, CrashWhileItIsAskedToEnd_IsACrash) {
  const ProcessEnd end = end_of(asked(), signalled(SIGSEGV), std::nullopt);
  EXPECT_EQ(end.reason, ExitReason::Crashed);
  EXPECT_EQ(end.ending, Ending::Itself);
  EXPECT_EQ(reason(asked(), exited(7)), ExitReason::ExitError);
}

// The stream that it breaks asks for the stop before its exit is seen.
TEST(ProcessEndTest, KilledByOthersWhileItIsAskedToEnd_IsNoStop) {
  EXPECT_EQ(reason(asked(), signalled(SIGKILL)), ExitReason::Killed);
  const ProcessEnd end =
      end_of(asked(), signalled(SIGKILL), MemoryKill{"over its memory limit", true});
  EXPECT_EQ(end.reason, ExitReason::OutOfMemory);
  EXPECT_EQ(end.cause, "over its memory limit");
  EXPECT_EQ(end.ending, Ending::OutOfMemory);
}

TEST(ProcessEndTest, MemoryKill_IsOutOfMemoryAndKeepsTheLastLine) {
  EndFacts facts;
  facts.last_line = "last words";
  const ProcessEnd end =
      end_of(facts, signalled(SIGKILL), MemoryKill{"over its memory limit", true});
  EXPECT_EQ(end.reason, ExitReason::OutOfMemory);
  EXPECT_EQ(end.cause, "over its memory limit: last words");
  EXPECT_EQ(end.ending, Ending::OutOfMemory);
}

TEST(ProcessEndTest, MemoryKillOfTheMachine_IsCountedSoAndNotItsFault) {
  const ProcessEnd end = end_of({}, signalled(SIGKILL), MemoryKill{"out of memory", false});
  EXPECT_EQ(end.reason, ExitReason::OutOfMemory);
  EXPECT_EQ(end.ending, Ending::Killed);
}

TEST(ProcessEndTest, EveryReasonHasAWord) {
  for (std::size_t i = 0; i < domain::kExitReasonNames.size(); ++i)
    EXPECT_FALSE(domain::to_string(static_cast<ExitReason>(i)).empty()) << i;
}

}  // namespace
}  // namespace glowplug::runtime
