// Runs real templates: the worker program with the fake engine, which loads and forks as any other.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <signal.h>

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/unique_fd.h"
#include "runtime/test_supervisor.h"

namespace glowplug::runtime {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

pid_t parent_of(pid_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; in >> word;) {
    pid_t parent = 0;
    if (word == "PPid:" && in >> parent) return parent;
  }
  return -1;
}

bool accepts(const std::string& path) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// Zombies too; other tests of the same process may have left some.
std::set<pid_t> children() {
  std::ifstream in("/proc/self/task/" + std::to_string(::getpid()) + "/children");
  return {std::istream_iterator<pid_t>(in), {}};
}

class TemplateTest : public SupervisorFixture {
 protected:
  const std::set<pid_t> before_ = children();

  TemplateTest() {
    supervise({.worker_path = GLOWPLUG_WORKER_PROGRAM, .fork_limit = 300ms});
    EXPECT_TRUE(supervisor_->start(wish(1, control::Role::Template)));
    EXPECT_TRUE(until_ready(1)) << seen_.cause[1];
  }

  control::StartProcess wish(std::uint64_t id, control::Role role) {
    control::StartProcess start{.process = {id}, .role = role};
    start.manifest.name = "f";
    start.manifest.engine.kind = domain::EngineKind::Fake;
    start.manifest.engine.fake.load_time = 0s;
    return start;
  }
  bool fork(std::uint64_t id) {
    control::StartProcess start = wish(id, control::Role::Replica);
    start.from = domain::ProcessId{1};
    return supervisor_->start(start).ok();
  }
  bool until_ready(std::uint64_t id) {
    return until([this, id] { return seen_.ready[id] > 0 || seen_.cause.contains(id); }) &&
           seen_.ready[id] > 0;
  }
  std::string until_gone(std::uint64_t id) {
    until([this, id] { return seen_.cause.contains(id); });
    return seen_.cause[id];
  }

  pid_t template_pid() { return *supervisor_->pid({1}); }
};

TEST_F(TemplateTest, Fork_IsAReplicaOfTheServersOwn) {
  ASSERT_TRUE(fork(2));
  ASSERT_TRUE(until_ready(2)) << seen_.cause[2];
  const pid_t pid = *supervisor_->pid({2});
  EXPECT_NE(pid, template_pid());
  EXPECT_EQ(parent_of(pid), ::getpid());
  EXPECT_EQ(::getpgid(pid), pid);
  EXPECT_TRUE(accepts(supervisor_->endpoint({2})->socket_path));
  supervisor_->stop({2});
  EXPECT_EQ(until_gone(2), "stopped");
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/run/2"));
  EXPECT_EQ(supervisor_->running(), 1u);
}

TEST_F(TemplateTest, Fork_IsInALeafOfItsOwnUntilItIsGone) {
  need("pids");
  if (IsSkipped()) return;
  control::StartProcess start = wish(2, control::Role::Replica);
  start.from = domain::ProcessId{1};
  start.limits = {.memory_bytes = 256 << 20, .cpu_cores = 1.5, .pids = 100};
  ASSERT_TRUE(supervisor_->start(start));
  ASSERT_TRUE(until_ready(2)) << seen_.cause[2];
  const std::string layers = supervisor_->cgroups().layers;
  EXPECT_THAT(seen_.sandbox[2], EndsWith("," + layers.substr(0, layers.find(' '))));
  EXPECT_THAT(groups_of(*supervisor_->pid({2})), HasSubstr(leaf_name(2)));
  EXPECT_THAT(groups_of(template_pid()), HasSubstr(leaf_name(1)));
  EXPECT_THAT(seen_.sandbox[1], Not(HasSubstr("pids"))) << "nothing was asked for it";
  EXPECT_GT(leaf_count(2), 0);
  supervisor_->stop({2});
  EXPECT_EQ(until_gone(2), "stopped");
  EXPECT_TRUE(until([] { return leaf_count(2) == 0; }));
  EXPECT_GT(leaf_count(1), 0);
  if (layers.find("memory") == std::string::npos) return;
  ASSERT_TRUE(seen_.most_bytes[2]);
  EXPECT_GT(*seen_.most_bytes[2], 0U);
  EXPECT_LE(*seen_.most_bytes[2], std::uint64_t{256} << 20);
}

TEST_F(TemplateTest, NoCgroups_ForksAsBefore) {
  supervise({.worker_path = GLOWPLUG_WORKER_PROGRAM, .cgroups = false});
  EXPECT_EQ(supervisor_->cgroups().layers, "none");
  seen_ = {};
  ASSERT_TRUE(supervisor_->start(wish(1, control::Role::Template)));
  ASSERT_TRUE(until_ready(1)) << seen_.cause[1];
  ASSERT_TRUE(fork(2));
  ASSERT_TRUE(until_ready(2)) << seen_.cause[2];
  EXPECT_EQ(leaf_count(1) + leaf_count(2), 0);
}

TEST_F(TemplateTest, TwentyForks_AreTwentyProcesses) {
  std::set<pid_t> pids;
  for (std::uint64_t id = 2; id < 22; ++id) ASSERT_TRUE(fork(id));
  for (std::uint64_t id = 2; id < 22; ++id) {
    ASSERT_TRUE(until_ready(id)) << seen_.cause[id];
    EXPECT_TRUE(accepts(supervisor_->endpoint({id})->socket_path));
    pids.insert(*supervisor_->pid({id}));
  }
  EXPECT_EQ(pids.size(), 20u);
  supervisor_.reset();
  EXPECT_EQ(children(), before_);
}

TEST_F(TemplateTest, Killed_ItsReplicasServeOn) {
  ASSERT_TRUE(fork(2));
  ASSERT_TRUE(until_ready(2));
  ::kill(template_pid(), SIGKILL);
  EXPECT_THAT(until_gone(1), StartsWith("killed by signal 9"));
  EXPECT_TRUE(accepts(supervisor_->endpoint({2})->socket_path));
  EXPECT_EQ(seen_.gone, 1);
  EXPECT_FALSE(fork(3));  // an error, not an end
  supervisor_->stop({2});
  EXPECT_EQ(until_gone(2), "stopped");
  EXPECT_EQ(children(), before_);
}

TEST_F(TemplateTest, KilledWithAnOrderOnItsDesk_TheReplicaIsGone) {
  ::kill(template_pid(), SIGSTOP);
  ASSERT_TRUE(fork(2));
  ::kill(template_pid(), SIGKILL);
  EXPECT_EQ(until_gone(2), "its template is gone");
  EXPECT_EQ(seen_.reason[2], domain::ExitReason::Unborn);
  until_gone(1);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/run/2"));
  EXPECT_EQ(children(), before_);
}

TEST_F(TemplateTest, Hangs_IsKilledAndItsOrderIsGone) {
  ::kill(template_pid(), SIGSTOP);
  ASSERT_TRUE(fork(2));
  EXPECT_EQ(until_gone(2), "its template did not fork within 0.3 s");
  EXPECT_EQ(until_gone(1), "did not fork within 0.3 s");
  EXPECT_EQ(seen_.reason[1], domain::ExitReason::ForkOverdue);
  EXPECT_EQ(seen_.reason[2], domain::ExitReason::Unborn);
  EXPECT_EQ(children(), before_);
}

TEST_F(TemplateTest, ReplicaKilledOrStoppedBeforeItIsBorn_IsGone) {
  ::kill(template_pid(), SIGSTOP);
  ASSERT_TRUE(fork(2));
  ASSERT_TRUE(fork(3));
  supervisor_->kill({2});
  supervisor_->stop({3});
  EXPECT_FALSE(supervisor_->pid({2}));
  ::kill(template_pid(), SIGCONT);
  EXPECT_EQ(until_gone(2), "killed");
  EXPECT_EQ(until_gone(3), "stopped");
  EXPECT_EQ(seen_.reason[3], domain::ExitReason::Stopped);
  ASSERT_TRUE(fork(4));
  EXPECT_TRUE(until_ready(4)) << seen_.cause[4];
}

TEST_F(TemplateTest, ServerGone_UnbornReplicaEndsToo) {
  ::kill(template_pid(), SIGSTOP);
  ASSERT_TRUE(fork(2));
  supervisor_.reset();
  EXPECT_EQ(seen_.gone, 0);
  EXPECT_EQ(children(), before_);
}

TEST_F(TemplateTest, CrashWhileLoading_NamesTheCause) {
  ASSERT_TRUE(supervisor_->start([this] {
    control::StartProcess start = wish(2, control::Role::Template);
    start.manifest.engine.fake.fault = "crash_on_load";
    return start;
  }()));
  EXPECT_THAT(until_gone(2), HasSubstr("signal 6"));
  EXPECT_EQ(seen_.reason[2], domain::ExitReason::Crashed);
}

}  // namespace
}  // namespace glowplug::runtime
