// Runs real workers that stand by: the worker program, with the fake engine once it is told.
#include <csignal>
#include <fstream>
#include <iterator>
#include <set>

#include <gmock/gmock.h>
#include <sys/wait.h>

#include "base/read_file.h"
#include "runtime/test_supervisor.h"

namespace glowplug::runtime {
namespace {

using ::testing::HasSubstr;

std::set<pid_t> children() {
  std::ifstream in("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  return {std::istream_iterator<pid_t>(in), {}};
}

std::string command_line(pid_t pid) {
  return read_text("/proc/" + std::to_string(pid) + "/cmdline");
}

class StandbyTest : public SupervisorFixture {
 protected:
  void open(int standby) {
    supervise({.worker_path = GLOWPLUG_WORKER_PROGRAM, .standby = standby});
    EXPECT_TRUE(until([this, standby] { return standby == 0 || !standing_by().empty(); }));
  }
  control::StartProcess wish(std::uint64_t id, control::Role role = control::Role::Replica) {
    control::StartProcess start{.process = {id}, .role = role};
    start.manifest.name = "f";
    start.manifest.engine.kind = domain::EngineKind::Fake;
    start.manifest.engine.fake.load_time = 0s;
    return start;
  }
  bool started(std::uint64_t id, control::Role role = control::Role::Replica) {
    return supervisor_->start(wish(id, role)).ok() &&
           until([this, id] { return seen_.ready[id] > 0 || seen_.cause.contains(id); }) &&
           seen_.ready[id] > 0;
  }
  // Of this supervisor, and not taken yet: whoever is a replica has its pid there.
  std::set<pid_t> standing_by() {
    std::set<pid_t> found;
    for (const pid_t pid : children()) {
      const bool taken = supervisor_->pid({1}) == pid || supervisor_->pid({2}) == pid;
      if (!taken && !before_.contains(pid) &&
          command_line(pid).find("--standby") != std::string::npos)
        found.insert(pid);
    }
    return found;
  }
  const std::set<pid_t> before_ = children();
};

TEST_F(StandbyTest, Start_TakesAWorkerThatStandsBy) {
  open(1);
  const pid_t pid = *standing_by().begin();
  ASSERT_TRUE(started(1)) << seen_.cause[1];
  EXPECT_EQ(supervisor_->pid({1}), pid);
  EXPECT_THAT(seen_.sandbox[1], HasSubstr("seccomp"));
  supervisor_->stop({1});
  EXPECT_TRUE(until([this] { return seen_.gone == 1; }));
  EXPECT_EQ(seen_.cause[1], "stopped");
}

TEST_F(StandbyTest, ReplicaOfIt_IsInItsLeaf) {
  open(1);
  need("pids");
  if (IsSkipped()) return;
  control::StartProcess start = wish(1);
  start.limits = {.pids = 100};
  ASSERT_TRUE(supervisor_->start(start));
  ASSERT_TRUE(until([this] { return seen_.ready[1] > 0; }));
  EXPECT_THAT(groups_of(*supervisor_->pid({1})), HasSubstr(leaf_name(1)));
  EXPECT_THAT(seen_.sandbox[1], HasSubstr("pids"));
}

TEST_F(StandbyTest, Template_TakesOneTooAndForks) {
  open(1);
  ASSERT_TRUE(started(1, control::Role::Template)) << seen_.cause[1];
  control::StartProcess start = wish(2);
  start.from = domain::ProcessId{1};
  ASSERT_TRUE(supervisor_->start(start));
  EXPECT_TRUE(until([this] { return seen_.ready[2] > 0; }));
}

TEST_F(StandbyTest, SecondStartAtOnce_ExecutesItsOwn) {
  open(1);
  ASSERT_TRUE(supervisor_->start(wish(1)));
  ASSERT_TRUE(supervisor_->start(wish(2)));
  EXPECT_TRUE(until([this] { return seen_.ready[1] > 0 && seen_.ready[2] > 0; }));
  EXPECT_EQ(command_line(*supervisor_->pid({2})).find("--standby"), std::string::npos);
}

TEST_F(StandbyTest, NextOne_StandsByALittleAfterTheStart) {
  open(1);
  ASSERT_TRUE(started(1));
  EXPECT_TRUE(standing_by().empty());
  EXPECT_TRUE(until([this] { return standing_by().size() == 1; }));
}

TEST_F(StandbyTest, OneThatWasKilled_IsReapedAndTheStartExecutesItsOwn) {
  open(1);
  const pid_t pid = *standing_by().begin();
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_TRUE(until([pid] { return !children().contains(pid); }));
  const auto counts = supervisor_->counts().all();
  const auto& standby = counts.at({control::ProcessKind::Standby, control::Place::Cpu});
  EXPECT_EQ(standby.ended_for(domain::ExitReason::Killed), 1u);
  EXPECT_TRUE(started(1)) << seen_.cause[1];
}

TEST_F(StandbyTest, KilledUnseen_TheStartExecutesItsOwn) {
  open(1);
  const pid_t pid = *standing_by().begin();
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(started(1)) << seen_.cause[1];
}

TEST_F(StandbyTest, SupervisorEnds_SoDoTheyAll) {
  open(2);
  EXPECT_TRUE(until([this] { return standing_by().size() == 2; }));
  supervisor_.reset();
  EXPECT_EQ(children(), before_);
}

TEST_F(StandbyTest, None_IsTheDefault) {
  open(0);
  ASSERT_TRUE(started(1));
  EXPECT_EQ(command_line(*supervisor_->pid({1})).find("--standby"), std::string::npos);
}

}  // namespace
}  // namespace glowplug::runtime
