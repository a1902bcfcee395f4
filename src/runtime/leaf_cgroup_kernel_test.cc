// Against the kernel of this machine, in a folder of the test's own; skipped, with the reason,
// where the machine lets nobody make one.
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <sched.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/read_file.h"
#include "runtime/device_probe.h"
#include "runtime/leaf_cgroup.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr int kTriesMax = 1'000'000;  // an emptied group is busy for some milliseconds

// A child that stands still until it is let go, and dies with the test.
class Child final {
 public:
  enum class Start { Held, AtOnce };

  Child(Start start, const std::function<int()>& body, int leaf_fd = -1) {
    int pair[2];
    if (::pipe2(pair, O_CLOEXEC) != 0) std::abort();
    clone_args args{};
    args.exit_signal = SIGCHLD;
    if (leaf_fd >= 0) {
      args.flags = CLONE_INTO_CGROUP;
      args.cgroup = static_cast<std::uint64_t>(leaf_fd);
    }
    pid_ = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof(args)));
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      char byte = 0;
      if (start == Start::Held && ::read(pair[0], &byte, 1) != 1) ::_exit(99);
      ::_exit(body());
    }
    ::close(pair[0]);
    hold_ = UniqueFd(pair[1]);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  pid_t pid() const { return pid_; }
  // By a byte, because an end of file would wait for the children that hold copies of this end.
  void let_go() { EXPECT_EQ(::write(hold_.get(), "x", 1), 1); }
  bool alive() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_ = -1;
  UniqueFd hold_;
};

// Stops at 1 GiB, so that a leaf that limits nothing fails the test and not the machine.
int allocate_without_bound() {
  for (std::uint64_t taken = 0; taken < 1024 * kMiB; taken += kMiB) {
    void* memory = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return 1;
    *static_cast<volatile char*>(memory) = 1;
  }
  return 0;
}

// How many children can be had, at most 64; they are gone when it returns.
int fork_bomb() {
  pid_t children[64];
  int count = 0;
  while (count < 64) {
    const pid_t pid = ::fork();
    if (pid < 0) break;
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      while (true) ::pause();
    }
    children[count++] = pid;
  }
  for (int at = 0; at < count; ++at) ::kill(children[at], SIGKILL);
  for (int at = 0; at < count; ++at) ::waitpid(children[at], nullptr, 0);
  return count;
}

int burn_40_ms() {
  while (std::clock() < CLOCKS_PER_SEC / 25) continue;
  return 0;
}

class LeafCgroupKernel : public ::testing::Test {
 protected:
  ~LeafCgroupKernel() override {
    const std::vector<std::string> folders = tree_->folders();
    tree_.reset();
    for (const std::string& folder : folders) EXPECT_FALSE(fs::exists(folder)) << folder;
  }

  void need(std::string_view controller) {
    for (const std::string& reason : tree_->refused())
      if (reason.starts_with(controller)) GTEST_SKIP() << reason;
  }

  Leaf leaf(std::string_view name, const LeafLimits& limits) {
    Result<Leaf> made = tree_->make_leaf(name, limits);
    EXPECT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->refused(), std::vector<std::string>{});
    return std::move(*made);
  }

  static void remove(Leaf& leaf) {
    for (int tries = 0; tries < kTriesMax && !leaf.try_remove(); ++tries) ::sched_yield();
    EXPECT_TRUE(leaf.try_remove());
  }

  // Where /proc sees a process, all hierarchies together.
  static std::string groups(pid_t pid) { return read_text(fmt::format("/proc/{}/cgroup", pid)); }
  static int count(const std::string& text, const std::string& part) {
    int found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
      ++found;
    return found;
  }

  std::optional<CgroupTree> tree_ = CgroupTree::open({.tag = "test"});
};

TEST_F(LeafCgroupKernel, ChildThatAllocatesWithoutBound_IsKilledAloneAndTheLeafSaysSo) {
  need("memory");
  if (IsSkipped()) return;
  Leaf small = leaf("small", {.memory_bytes = 64 * kMiB});
  Leaf beside = leaf("beside", {.memory_bytes = 64 * kMiB});
  Child greedy(Child::Start::Held, allocate_without_bound);
  Child modest(Child::Start::Held, [] { return 0; });
  ASSERT_TRUE(small.add(greedy.pid()));
  ASSERT_TRUE(beside.add(modest.pid()));
  EXPECT_EQ(small.oom_kills(), 0u);
  greedy.let_go();
  const int status = greedy.wait();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_EQ(small.oom_kills(), 1u);
  EXPECT_TRUE(small.met_memory_limit());
  EXPECT_FALSE(beside.met_memory_limit());
  EXPECT_EQ(beside.oom_kills(), 0u);
  EXPECT_TRUE(modest.alive());
  modest.let_go();
  EXPECT_EQ(modest.wait(), 0);
  remove(small);
  remove(beside);
}

TEST_F(LeafCgroupKernel, Peak_IsTheMostThatWasTouched) {
  need("memory");
  if (IsSkipped()) return;
  Leaf one = leaf("one", {.memory_bytes = 64 * kMiB});
  int pair[2];
  ASSERT_EQ(::pipe2(pair, O_CLOEXEC), 0);
  Child child(Child::Start::Held, [&pair] {
    void* memory = ::mmap(nullptr, 16 * kMiB, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED || ::write(pair[1], "x", 1) != 1) return 1;
    while (true) ::pause();
  });
  ASSERT_TRUE(one.add(child.pid()));
  child.let_go();
  char byte = 0;
  ASSERT_EQ(::read(pair[0], &byte, 1), 1);
  EXPECT_GE(one.peak().value_or(0), 16 * kMiB);
  EXPECT_LT(one.peak().value_or(0), 64 * kMiB);
  ::close(pair[0]);
  ::close(pair[1]);
  ::kill(child.pid(), SIGKILL);
  child.wait();
  remove(one);
}

TEST_F(LeafCgroupKernel, ForkBomb_IsStoppedAtTheLimit) {
  need("pids");
  if (IsSkipped()) return;
  Leaf few = leaf("few", {.pids = 20});
  Child bomb(Child::Start::Held, fork_bomb);
  ASSERT_TRUE(few.add(bomb.pid()));
  bomb.let_go();
  const int status = bomb.wait();
  ASSERT_TRUE(WIFEXITED(status));
#ifdef __SANITIZE_THREAD__
  constexpr int kChildren = 10;  // the sanitizer adds a thread to each process
#else
  constexpr int kChildren = 19;
#endif
  EXPECT_EQ(WEXITSTATUS(status), kChildren) << "and itself";
  remove(few);
}

TEST_F(LeafCgroupKernel, BusyChild_IsThrottledToItsShare) {
  need("cpu");
  if (IsSkipped()) return;
  Leaf slow = leaf("slow", {.cpu_cores = 0.05});
  Child child(Child::Start::Held, burn_40_ms);
  ASSERT_TRUE(slow.add(child.pid()));
  child.let_go();
  EXPECT_EQ(child.wait(), 0);
  std::uint64_t throttled = 0;
  for (const std::string& folder : tree_->folders())
    throttled += parse_stat_field(read_text(folder + "/slow/cpu.stat"), "nr_throttled");
  EXPECT_GT(throttled, 0u);
  remove(slow);
}

TEST_F(LeafCgroupKernel, ChildThatEntersByItself_IsInEachFolder) {
  if (tree_->layers() == "none") GTEST_SKIP() << tree_->refused()[0];
  Leaf one = leaf("one", {.memory_bytes = 64 * kMiB, .pids = 20});
  int pair[2];
  ASSERT_EQ(::pipe2(pair, O_CLOEXEC), 0);
  Child child(Child::Start::AtOnce, [&one, &pair] {
    const int error = one.enter();
    if (::write(pair[1], &error, sizeof(error)) != sizeof(error)) return 1;
    while (true) ::pause();
  });
  int error = -1;
  ASSERT_EQ(::read(pair[0], &error, sizeof(error)), static_cast<ssize_t>(sizeof(error)));
  EXPECT_EQ(error, 0);
  const int folders = one.fd() >= 0 ? 1 : count(tree_->layers(), ",") + 1;
  EXPECT_EQ(count(groups(child.pid()), "-test/one"), folders) << groups(child.pid());
  EXPECT_EQ(count(groups(::getpid()), "-test/one"), 0);
  ::close(pair[0]);
  ::close(pair[1]);
  ::kill(child.pid(), SIGKILL);
  child.wait();
  remove(one);
}

// As a template's child does, which gets them in a message and may live in a user namespace.
TEST_F(LeafCgroupKernel, EntriesOpenedByTheServer_AdmitAChildInAUserNamespace) {
  if (tree_->layers() == "none") GTEST_SKIP() << tree_->refused()[0];
  Leaf one = leaf("one", {.memory_bytes = 64 * kMiB, .cpu_cores = 1, .pids = 20});
  int pair[2];
  ASSERT_EQ(::pipe2(pair, O_CLOEXEC), 0);
  Child child(Child::Start::AtOnce, [&one, &pair] {
    int error = ::unshare(CLONE_NEWUSER) == 0 ? 0 : -errno;
    for (const int entry : one.entries())
      if (::pwrite(entry, "0", 1, 0) != 1) error = errno;
    if (::write(pair[1], &error, sizeof(error)) != sizeof(error)) return 1;
    while (true) ::pause();
  });
  int error = -1;
  ASSERT_EQ(::read(pair[0], &error, sizeof(error)), static_cast<ssize_t>(sizeof(error)));
  EXPECT_LE(error, 0) << std::strerror(error);
  EXPECT_EQ(one.layers_on(child.pid()), tree_->layers().substr(0, tree_->layers().find(' ')));
  ::close(pair[0]);
  ::close(pair[1]);
  ::kill(child.pid(), SIGKILL);
  child.wait();
  remove(one);
  if (error < 0) GTEST_SKIP() << "no user namespace here: " << std::strerror(-error);
}

TEST_F(LeafCgroupKernel, ChildBornInTheLeaf_IsThereFromItsFirstPage) {
  Leaf one = leaf("one", {.memory_bytes = 64 * kMiB});
  if (one.fd() < 0) GTEST_SKIP() << "the controllers are not all of version 2: " << tree_->layers();
  Child child(
      Child::Start::Held, [] { return 0; }, one.fd());
  ASSERT_GT(child.pid(), 0);
  EXPECT_EQ(count(groups(child.pid()), "-test/one"), 1) << groups(child.pid());
  EXPECT_FALSE(one.try_remove()) << "a process is inside";
  child.let_go();
  EXPECT_EQ(child.wait(), 0);
  remove(one);
}

TEST_F(LeafCgroupKernel, LeafGivenUpWithItsProcess_IsRemovedByTheTree) {
  if (tree_->layers() == "none") GTEST_SKIP() << tree_->refused()[0];
  Child child(Child::Start::Held, [] { return 0; });
  { ASSERT_TRUE(leaf("one", {.pids = 20}).add(child.pid())); }
  EXPECT_GT(tree_->remove_left(), 0u);
  child.let_go();
  child.wait();
  for (int tries = 0; tries < kTriesMax && tree_->remove_left() > 0; ++tries) ::sched_yield();
  EXPECT_EQ(tree_->remove_left(), 0u);
}

TEST_F(LeafCgroupKernel, NextServer_RemovesTheFoldersOfADeadOneAndNotOfALivingOne) {
  if (tree_->layers() == "none") GTEST_SKIP() << tree_->refused()[0];
  if (!tree_->server_folder().empty()) GTEST_SKIP() << "its own cgroup takes one server only";
  // The tree of a server that is killed: nobody removes its folders.
  Child dead(Child::Start::AtOnce, [] {
    CgroupTree tree = CgroupTree::open({.tag = "dead"});
    Result<Leaf> leaf = tree.make_leaf("1", {.pids = 20});
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  const std::string name = fmt::format("glowplug-{}-dead", dead.pid());
  dead.wait();
  std::vector<fs::path> left;
  for (const fs::path folder : tree_->folders()) left.push_back(folder.parent_path() / name);
  for (const fs::path& folder : left) EXPECT_TRUE(fs::exists(folder / "1")) << folder;
  const CgroupTree next = CgroupTree::open({.tag = "next"});
  EXPECT_EQ(next.leftovers_removed(), static_cast<int>(left.size()));
  for (const fs::path& folder : left) EXPECT_FALSE(fs::exists(folder)) << folder;
  for (const std::string& folder : tree_->folders()) EXPECT_TRUE(fs::exists(folder)) << folder;
}

}  // namespace
}  // namespace glowplug::runtime
