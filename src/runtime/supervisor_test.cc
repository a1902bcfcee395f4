// Runs real processes: shell scripts stand for the worker program and for process functions.
#include "runtime/supervisor.h"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/unique_fd.h"
#include "runtime/test_supervisor.h"

namespace glowplug::runtime {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
namespace fs = std::filesystem;

class SupervisorTest : public SupervisorFixture {
 protected:
  // The worker program is a shell script with `body`; say NAME writes a control line.
  void open(const std::string& body, Duration stall = 5s, Duration grace = 5s) {
    const std::string worker = dir_ + "/worker";
    std::ofstream(worker)
        << "#!/bin/sh\nsay() { echo \"$1\" >&3; }\nready() { say '{\"state\":\"ready\"}'; }\n"
           "forever() { while read -r line <&4; do :; done; exit 0; }\n"
        << body << "\n";
    ::chmod(worker.c_str(), 0755);
    supervise({.worker_path = worker, .load_stall_timeout = stall, .stop_grace = grace});
  }

  control::StartProcess fake(std::uint64_t id = 1) {
    control::StartProcess start{.process = {id}};
    start.manifest.name = "f";
    start.manifest.engine.kind = domain::EngineKind::Fake;
    return start;
  }

  control::StartProcess process(std::vector<std::string> command, Duration timeout = 5s) {
    control::StartProcess start = fake();
    start.manifest.engine.kind = domain::EngineKind::Process;
    start.manifest.engine.process.command = std::move(command);
    start.manifest.engine.process.start_timeout = timeout;
    return start;
  }

  bool until_ready() {
    return until([this] { return seen_.ready[1] > 0 || seen_.gone > 0; }) && seen_.gone == 0;
  }
  std::string until_gone() {
    until([this] { return seen_.gone > 0; });
    return seen_.cause[1];
  }
  std::vector<std::string> logs() { return supervisor_->logs("f"); }
};

TEST_F(SupervisorTest, Worker_LoadsBecomesReadyAndStops) {
  open("say '{\"state\":\"loading\",\"progress\":0.5}'; echo hello; echo oops >&2; ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  EXPECT_THAT(seen_.progress, ElementsAre(0.5));
  EXPECT_EQ(supervisor_->endpoint({1})->socket_path, dir_ + "/run/1/r.sock");
  EXPECT_TRUE(supervisor_->pid({1}));
  EXPECT_EQ(fs::status(dir_ + "/run/1").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(dir_ + "/run").permissions(), fs::perms::owner_all);
  supervisor_->stop({1});
  EXPECT_EQ(until_gone(), "stopped");
  EXPECT_EQ(supervisor_->running(), 0u);
  EXPECT_FALSE(supervisor_->endpoint({1}));
  EXPECT_FALSE(supervisor_->pid({1}));
  EXPECT_FALSE(fs::exists(dir_ + "/run/1"));
  EXPECT_THAT(logs(), ElementsAre("replica 1 | hello", "replica 1 | oops"));
}

TEST_F(SupervisorTest, Worker_IsInItsLeafBeforeItRunsAndTheLeafGoesWithIt) {
  open("cat /proc/self/cgroup; ready; forever");
  need("pids");
  if (IsSkipped()) return;
  control::StartProcess start = fake();
  start.limits = {.pids = 100};
  ASSERT_TRUE(supervisor_->start(start));
  ASSERT_TRUE(until_ready());
  const std::string leaf = leaf_name(1).substr(0, leaf_name(1).size() - 1);
  const auto is_said = [this, &leaf] {  // by another pipe than the one that says ready
    const std::vector<std::string> lines = logs();
    return std::any_of(lines.begin(), lines.end(),
                       [&leaf](const auto& line) { return line.find(leaf) != std::string::npos; });
  };
  EXPECT_TRUE(until(is_said));
  EXPECT_EQ(seen_.sandbox[1], "pids");
  EXPECT_GT(leaf_count(1), 0);
  supervisor_->stop({1});
  EXPECT_EQ(until_gone(), "stopped");
  EXPECT_TRUE(until([] { return leaf_count(1) == 0; }));
}

TEST_F(SupervisorTest, Worker_OverItsMemoryLimit_IsKilledAndTheCauseNamesTheLimit) {
  open("ready; ulimit -v 1000000; exec tail /dev/zero");
  need("memory");
  if (IsSkipped()) return;
  control::StartProcess start = fake();
  start.limits = {.memory_bytes = 64'000'000};
  ASSERT_TRUE(supervisor_->start(start));
  EXPECT_EQ(until_gone(), "killed by the kernel: over its memory limit of 64.0 MB");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::OutOfMemory);
  EXPECT_EQ(seen_.ending[1], control::Ending::OutOfMemory);
}

TEST_F(SupervisorTest, Worker_GetsNothingThatIsNotIts) {
  ::setenv("GLOWPLUG_TEST_SECRET", "hunter2", 1);
  const UniqueFd open_across_exec(::fcntl(0, F_DUPFD, 50));
  open("env; exec ls /proc/self/fd");
  ASSERT_TRUE(supervisor_->start(fake()));
  until_gone();
  ::unsetenv("GLOWPLUG_TEST_SECRET");
  std::vector<std::string> descriptors;
  for (const std::string& line : logs()) {
    EXPECT_EQ(line.find("hunter2"), std::string::npos);
    const std::string text = line.substr(std::string("replica 1 | ").size());
    if (text.find_first_not_of("0123456789") == std::string::npos) descriptors.push_back(text);
  }
  EXPECT_THAT(descriptors,
              ElementsAre("0", "1", "2", "3", "4", "5"));  // 5 is the folder that ls reads
}

TEST_F(SupervisorTest, ServerKilled_ItsReplicasDieWithIt) {
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  UniqueFd from_server(pipe_ends[0]);
  UniqueFd to_test(pipe_ends[1]);
  const pid_t server = ::fork();
  if (server == 0) {
    open("");
    const bool started = supervisor_->start(process({"sleep", "600"})).ok();
    const pid_t replica = started ? *supervisor_->pid({1}) : -1;
    if (::write(to_test.get(), &replica, sizeof(replica)) < 0) ::_exit(1);
    while (true) ::pause();
  }
  pid_t replica = -1;
  ASSERT_EQ(::read(from_server.get(), &replica, sizeof(replica)), ssize_t{sizeof(replica)});
  const UniqueFd watched(static_cast<int>(::syscall(SYS_pidfd_open, replica, 0)));
  ASSERT_TRUE(watched.valid());
  ::kill(server, SIGKILL);
  pollfd ended{.fd = watched.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&ended, 1, 5000), 1);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(server), &info, WEXITED);
}

TEST_F(SupervisorTest, FailedCause_IsPartOfTheCause) {
  open("say '{\"state\":\"failed\",\"cause\":\"the file is cut short\"}'; echo noise; exit 1");
  ASSERT_TRUE(supervisor_->start(fake()));
  EXPECT_EQ(until_gone(), "exited with status 1: the file is cut short");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::LoadFailed);
}

TEST_F(SupervisorTest, Crash_NamesStatusAndLastLine) {
  open("echo first; echo 'last words' >&2; exit 3");
  ASSERT_TRUE(supervisor_->start(fake()));
  EXPECT_EQ(until_gone(), "exited with status 3: last words");
  EXPECT_EQ(seen_.ready[1], 0);
}

TEST_F(SupervisorTest, KilledFromOutside_SaysPossiblyOutOfMemory) {
  open("ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  ::kill(*supervisor_->pid({1}), SIGKILL);
  EXPECT_EQ(until_gone(), "killed by signal 9 (Killed), possibly out of memory");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::Killed);
  EXPECT_EQ(seen_.ending[1], control::Ending::Killed);
}

// A broken answer asks for the stop of a process that may have ended before.
TEST_F(SupervisorTest, StopOfOneThatHasEnded_SaysOfWhatItEnded) {
  open("ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  const pid_t pid = *supervisor_->pid({1});
  ::kill(pid, SIGKILL);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  supervisor_->stop({1});
  EXPECT_EQ(until_gone(), "killed by signal 9 (Killed), possibly out of memory");
  EXPECT_EQ(seen_.ending[1], control::Ending::Killed);
}

TEST_F(SupervisorTest, Ends_AreCounted) {
  const auto count = [this] {
    const auto all = supervisor_->counts().all();
    const auto found = all.find({control::ProcessKind::Replica, control::Place::Cpu});
    return found == all.end() ? control::ProcessCounts::Count{} : found->second;
  };
  open("ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  EXPECT_EQ(count().started, 1u);
  EXPECT_EQ(count().running, 1u);
  ::kill(*supervisor_->pid({1}), SIGKILL);
  until_gone();
  EXPECT_EQ(count().running, 0u);
  EXPECT_EQ(count().ended_for(domain::ExitReason::Killed), 1u);
  control::StartProcess orphan = fake();
  orphan.from = domain::ProcessId{77};
  EXPECT_FALSE(supervisor_->start(orphan));
  EXPECT_EQ(count().started, 2u);
  EXPECT_EQ(count().ended_for(domain::ExitReason::NotStarted), 1u);
}

TEST_F(SupervisorTest, KillAsked_SaysKilled) {
  open("ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  supervisor_->kill({1});
  EXPECT_EQ(until_gone(), "killed");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::Stopped);
  EXPECT_EQ(seen_.ending[1], control::Ending::Asked);
}

TEST_F(SupervisorTest, StopIgnored_EndsAfterTheGrace) {
  open("trap '' TERM; ready; forever", 5s, 50ms);
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  supervisor_->stop({1});
  EXPECT_EQ(until_gone(), "stopped");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::StopOverdue);
}

TEST_F(SupervisorTest, NoProgress_IsKilledAfterTheStall) {
  open("say '{\"state\":\"loading\",\"progress\":0.5}'; forever", 100ms);
  ASSERT_TRUE(supervisor_->start(fake()));
  EXPECT_EQ(until_gone(), "no progress while loading for 0.1 s");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::LoadStalled);
}

TEST_F(SupervisorTest, BrokenControlLines_AreKilled) {
  for (const char* body : {"say hello; forever", "printf '%05000d' 1 >&3; forever",
                           "say \"$(printf '%05000d' 1)\"; forever"}) {
    seen_ = {};
    open(body);
    ASSERT_TRUE(supervisor_->start(fake()));
    EXPECT_THAT(until_gone(), StartsWith("broke the control protocol: a line is ")) << body;
    EXPECT_EQ(seen_.reason[1], domain::ExitReason::Protocol);
  }
}

TEST_F(SupervisorTest, ChildrenOfAKilledReplica_DoNotSurvive) {
  open("sleep 600 & echo $!; ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready() && until([this] { return !logs().empty(); }));
  const pid_t child = std::stoi(logs()[0].substr(std::string("replica 1 | ").size()));
  ASSERT_EQ(::kill(child, 0), 0);
  ::kill(*supervisor_->pid({1}), SIGKILL);
  until_gone();
  EXPECT_EQ(::kill(child, 0), -1);
}

TEST_F(SupervisorTest, ChildThatLeftTheGroup_DoesNotSurviveAProcessFunction) {
  open("");
  ASSERT_TRUE(supervisor_->start(
      process({"/bin/sh", "-c", "setsid sh -c 'echo $$; exec sleep 600' & wait"})));
  ASSERT_TRUE(until([this] { return !logs().empty(); }));
  const pid_t child = std::stoi(logs()[0].substr(std::string("replica 1 | ").size()));
  supervisor_->stop({1});
  EXPECT_EQ(until_gone(), "stopped");
  EXPECT_EQ(::kill(child, 0), -1);
}

TEST_F(SupervisorTest, Destroyed_KillsEverythingSilently) {
  open("ready; forever");
  ASSERT_TRUE(supervisor_->start(fake()));
  ASSERT_TRUE(until_ready());
  const pid_t pid = *supervisor_->pid({1});
  supervisor_.reset();
  EXPECT_EQ(::kill(pid, 0), -1);
  loop_.restart();
  loop_.poll();
  EXPECT_EQ(seen_.gone, 0);
  EXPECT_FALSE(fs::exists(dir_ + "/run/1"));
}

TEST_F(SupervisorTest, MissingCommand_NothingRuns) {
  open("");
  const Result<void> started = supervisor_->start(process({"no-such-program"}));
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, "function_failed");
  EXPECT_EQ(supervisor_->running(), 0u);
  EXPECT_EQ(seen_.gone, 0);
}

TEST_F(SupervisorTest, NotAProgram_NothingRunsAndNoFolderStays) {
  open("");
  std::ofstream(dir_ + "/junk") << "\x7f"
                                   "ELFjunk";
  ::chmod((dir_ + "/junk").c_str(), 0755);
  const Result<void> started = supervisor_->start(process({dir_ + "/junk"}));
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("Exec format error"));
  EXPECT_FALSE(fs::exists(dir_ + "/run/1"));
}

TEST_F(SupervisorTest, ProcessOnAPort_IsReadyWhenItAnswers200) {
  open("");
  ASSERT_TRUE(supervisor_->start(
      process({"python3", "-c",
               "import http.server,sys\n"
               "class H(http.server.BaseHTTPRequestHandler):\n"
               "  n=0\n"
               "  def do_GET(self):\n"
               "    H.n+=1\n"
               "    self.send_response(200 if H.n>2 and self.path=='/health' else 503); "
               "self.end_headers()\n"
               "http.server.HTTPServer(('127.0.0.1',int(sys.argv[1])),H).serve_forever()",
               "{port}"})));
  ASSERT_TRUE(until_ready()) << seen_.cause[1];
  EXPECT_GT(supervisor_->endpoint({1})->port, 0);
  EXPECT_EQ(supervisor_->endpoint({1})->socket_path, "");
  EXPECT_THAT(logs(), Contains(HasSubstr("503")));
}

TEST_F(SupervisorTest, ProcessOnASocket_IsReadyWhenItAnswers200) {
  open("");
  ASSERT_TRUE(supervisor_->start(
      process({"python3", "-c",
               "import socket,sys\n"
               "s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
               "while True:\n"
               "  c,_=s.accept(); c.recv(4096); c.sendall(b'HTTP/1.1 200 "
               "OK\\r\\ncontent-length: 0\\r\\n\\r\\n'); c.close()",
               "{socket}"})));
  ASSERT_TRUE(until_ready()) << seen_.cause[1];
  EXPECT_EQ(supervisor_->endpoint({1})->socket_path, dir_ + "/run/1/r.sock");
}

TEST_F(SupervisorTest, ProcessThatNeverAnswers_IsKilledAfterItsStartTimeout) {
  open("");
  ASSERT_TRUE(supervisor_->start(process({"sleep", "600"}, 200ms)));
  EXPECT_EQ(until_gone(), "did not answer 200 on /health within 0.2 s");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::StartOverdue);
}

}  // namespace
}  // namespace glowplug::runtime
