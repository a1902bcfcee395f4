#include "runtime/leftovers.h"

#include <filesystem>
#include <fstream>
#include <poll.h>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "runtime/child_spawn.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

class Leftovers : public ::testing::Test {
 protected:
  Leftovers() {
    char name[] = "/tmp/gp-left-XXXXXX";
    run_dir_ = ::mkdtemp(name);
    folder_ = run_dir_ + "/3";
    fs::create_directory(folder_);
  }
  ~Leftovers() override { fs::remove_all(run_dir_); }

  // It prints once its environment can be seen, and then stands still.
  SpawnedChild spawn(std::vector<std::string> env,
                     const std::string& script = "echo up; kill -STOP $$") {
    LaunchPlan plan{.program = "/bin/sh", .argv = {"sh", "-c", script}, .env = std::move(env)};
    plan.readiness = Readiness::Http;
    Result<SpawnedChild> child = spawn_child(plan, nullptr);
    EXPECT_TRUE(child);
    pollfd up{.fd = child->output.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&up, 1, 5000), 1);
    return std::move(*child);
  }

  static int signal_of(pid_t pid) {
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED);
    return info.si_status;
  }

  std::string run_dir_, folder_;
};

TEST_F(Leftovers, RecordedGroup_IsKilledAndItsFolderRemoved) {
  const SpawnedChild child = spawn({});
  ASSERT_TRUE(write_pid_file(folder_, child.pid));
  EXPECT_EQ(reap_leftovers(run_dir_), 1);
  EXPECT_EQ(signal_of(child.pid), SIGKILL);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(Leftovers, MarkedProcessWithoutRecord_IsKilled) {
  const SpawnedChild child = spawn({"GLOWPLUG_REPLICA=" + folder_});
  EXPECT_EQ(reap_leftovers(run_dir_), 1);
  EXPECT_EQ(signal_of(child.pid), SIGKILL);
}

// In that moment its environment cannot be read.
TEST_F(Leftovers, MarkedProcessThatExecutesAnotherProgram_IsKilled) {
  std::ofstream(run_dir_ + "/again") << "exec /bin/sh \"$0\"\n";
  for (int time = 0; time < 30; ++time) {
    const SpawnedChild child =
        spawn({"GLOWPLUG_REPLICA=" + folder_}, "echo up; exec /bin/sh " + run_dir_ + "/again");
    Killed killed;
    do { killed = kill_strays(folder_); } while (!killed.all_known && killed.strays.empty());
    EXPECT_EQ(killed.strays, std::vector<pid_t>{child.pid});
    ::kill(child.pid, SIGKILL);
    EXPECT_EQ(signal_of(child.pid), SIGKILL);
  }
}

TEST_F(Leftovers, NumberThatNamesAnotherProcessNow_IsLeftAlone) {
  const SpawnedChild child = spawn({"GLOWPLUG_REPLICA=" + folder_ + "0"});
  std::ofstream(folder_ + "/pid") << child.pid << " 1\n";
  EXPECT_EQ(reap_leftovers(run_dir_), 0);
  EXPECT_EQ(::kill(child.pid, 0), 0);
  ::kill(child.pid, SIGKILL);
  signal_of(child.pid);
}

TEST_F(Leftovers, OtherFilesAndMissingFolder_AreLeftAlone) {
  fs::create_directory(run_dir_ + "/notes");
  EXPECT_EQ(reap_leftovers(run_dir_), 0);
  EXPECT_TRUE(fs::exists(run_dir_ + "/notes"));
  EXPECT_EQ(reap_leftovers(run_dir_ + "/absent"), 0);
}

}  // namespace
}  // namespace glowplug::runtime
