#include "runtime/leaf_cgroup.h"

#include <algorithm>
#include <filesystem>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "runtime/test_cgroups.h"

namespace glowplug::runtime {
namespace {

constexpr LeafLimits kLimits{.memory_bytes = 67'108'864, .cpu_cores = 1.5, .pids = 20};

TEST_F(LeafCgroup, V1_EachLimitIsWrittenWhereItsControllerIs) {
  v1_machine();
  CgroupTree tree = open();
  EXPECT_EQ(tree.refused(), Words{});
  EXPECT_EQ(tree.layers(), "memory,cpu,pids (v1)");
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->refused(), Words{});
  EXPECT_EQ(leaf->fd(), -1);
  EXPECT_EQ(in(memory_, "7/memory.limit_in_bytes"), "67108864");
  EXPECT_EQ(in(memory_, "7/memory.memsw.limit_in_bytes"), "67108864");
  EXPECT_EQ(in(memory_, "7/memory.swappiness"), "0");
  EXPECT_EQ(in(cpu_, "7/cpu.cfs_period_us"), "100000");
  EXPECT_EQ(in(cpu_, "7/cpu.cfs_quota_us"), "150000");
  EXPECT_EQ(in(pids_, "7/pids.max"), "20");
}

TEST_F(LeafCgroup, ShareOfTheCores_IsIdleOrTheSmallestWeight) {
  v1_machine();
  for (const char* file : {"cpu.idle", "cpu.shares"}) put(root_ / cpu_ / file, "");
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  leaf->share_cpu(Leaf::CpuShare::Idle);
  EXPECT_EQ(in(cpu_, "7/cpu.idle"), "1");
  leaf->share_cpu(Leaf::CpuShare::Equal);
  EXPECT_EQ(in(cpu_, "7/cpu.idle"), "0");
  fs::remove(root_ / cpu_ / ours_ / "7/cpu.idle");
  leaf->share_cpu(Leaf::CpuShare::Idle);
  EXPECT_EQ(in(cpu_, "7/cpu.shares"), "2");
}

TEST_F(LeafCgroup, V1_KernelWithoutSwapAccounting_IsNoRefusal) {
  v1_machine();
  fs::remove(root_ / memory_ / "memory.memsw.limit_in_bytes");
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->refused(), Words{});
  EXPECT_EQ(in(memory_, "7/memory.limit_in_bytes"), "67108864");
}

TEST_F(LeafCgroup, V1_MountInContainer_IsSeenThroughItsRoot) {
  v1_machine();
  put(root_ / "proc/self/cgroup", "4:memory:/docker/ab/srv\n3:pids:/\n2:cpu:/\n");
  put(root_ / "proc/self/mountinfo",
      fmt::format(kMount, "/docker/a", "/cg/wrong", "cgroup", "memory") +
          fmt::format(kMount, "/docker/ab", "/cg/my\\040memory", "cgroup", "memory") +
          fmt::format(kMount, "/elsewhere", "/cg/pids", "cgroup", "pids"));
  v1_group("cg/my memory/srv", {"memory.limit_in_bytes"});
  CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "memory (v1)");
  EXPECT_EQ(tree.refused().size(), 2u);
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  EXPECT_EQ(in("cg/my memory/srv", "7/memory.limit_in_bytes"), "67108864");
}

TEST_F(LeafCgroup, V1_BothWaysIn_ReachEachController) {
  v1_machine();
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", {});
  ASSERT_TRUE(leaf);
  EXPECT_EQ(in(pids_, "7/pids.max"), "") << "a limit that was not asked for";
  EXPECT_TRUE(leaf->add(4711));
  EXPECT_EQ(leaf->enter(), 0);
  for (const std::string& own : {memory_, cpu_, pids_}) {
    EXPECT_EQ(in(own, "7/cgroup.procs"), "4711");
    EXPECT_EQ(in(own, "7/tasks"), "0");
    put(root_ / own / ours_ / "7/cgroup.procs", "");
  }
}

TEST_F(LeafCgroup, V1_Entries_AreWhatAChildOfAnotherWritesTo) {
  v1_machine();
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", {});
  ASSERT_EQ(leaf->entries().size(), 3u);
  for (const int entry : leaf->entries()) EXPECT_EQ(::write(entry, "0", 1), 1);
  for (const std::string& own : {memory_, cpu_, pids_}) EXPECT_EQ(in(own, "7/tasks"), "0");
}

TEST_F(LeafCgroup, LayersOnAProcess_AreWhereItIsAndALimitHolds) {
  v1_machine();
  put(root_ / cpu_ / "refuse.cpu.cfs_quota_us", "");
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  EXPECT_EQ(leaf->layers_on(4711), "");
  put(root_ / memory_ / ours_ / "7/cgroup.procs", "4711\n");
  put(root_ / cpu_ / ours_ / "7/cgroup.procs", "4711\n");
  EXPECT_EQ(leaf->layers_on(4711), "memory") << "cpu has no limit, pids has no process";
  put(root_ / pids_ / ours_ / "7/cgroup.procs", "12\n4711\n");
  EXPECT_EQ(leaf->layers_on(4711), "memory,pids");
  EXPECT_EQ(leaf->layers_on(471), "");
  EXPECT_EQ(leaf->in_force().memory_bytes, kLimits.memory_bytes);
  EXPECT_EQ(leaf->in_force().cpu_cores, std::nullopt);
}

TEST_F(LeafCgroup, V1_Counters_AreReadFromTheLeaf) {
  v1_machine();
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  const fs::path folder = root_ / memory_ / ours_ / "7";
  put(folder / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  put(folder / "memory.max_usage_in_bytes", "60000000\n");
  EXPECT_FALSE(leaf->met_memory_limit());
  put(folder / "memory.max_usage_in_bytes", "67000000\n");
  EXPECT_TRUE(leaf->met_memory_limit());
  EXPECT_EQ(leaf->oom_kills(), 3u);
  EXPECT_EQ(leaf->peak(), 67000000u);
}

TEST_F(LeafCgroup, V2_ServerAloneInItsGroup_MovesInAndBackOut) {
  v2_machine(self_);
  {
    CgroupTree tree = open();
    EXPECT_EQ(tree.refused(), Words{});
    EXPECT_EQ(tree.layers(), "memory,cpu,pids (v2)");
    EXPECT_EQ(tree.server_folder(), (unit() / ours_ / "server").string());
    EXPECT_EQ(text_of(unit() / ours_ / "server/cgroup.procs"), self_);
    EXPECT_EQ(text_of(unit() / "cgroup.procs"), "");
  }
  EXPECT_EQ(text_of(unit() / "cgroup.procs"), self_);
  EXPECT_EQ(text_of(unit() / "cgroup.subtree_control"), "");
  EXPECT_EQ(folders_in(unit()), Words{});
}

TEST_F(LeafCgroup, V2_EachLimitIsWrittenInOneFolder) {
  v2_machine(self_);
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->refused(), Words{});
  EXPECT_EQ(in("cg/unit", "7/memory.max"), "67108864");
  EXPECT_EQ(in("cg/unit", "7/memory.swap.max"), "0");
  EXPECT_EQ(in("cg/unit", "7/memory.oom.group"), "1");
  EXPECT_EQ(in("cg/unit", "7/cpu.max"), "150000 100000");
  EXPECT_EQ(in("cg/unit", "7/pids.max"), "20");
  const fs::path seen = fs::read_symlink("/proc/self/fd/" + std::to_string(leaf->fd()));
  EXPECT_EQ(seen, unit() / ours_ / "7");
  put(unit() / ours_ / "7/memory.events", "max 0\noom_kill 2\n");
  EXPECT_FALSE(leaf->met_memory_limit());
  put(unit() / ours_ / "7/memory.events", "max 9\noom_kill 2\n");
  put(unit() / ours_ / "7/memory.peak", "8192\n");
  EXPECT_TRUE(leaf->met_memory_limit());
  EXPECT_EQ(leaf->oom_kills(), 2u);
  put(unit() / ours_ / "7/memory.events", "max 9\noom_kill 2\noom_group_kill 1\n");
  EXPECT_EQ(leaf->oom_kills(), 1u) << "two marks of one death";
  EXPECT_EQ(leaf->peak(), 8192u);
}

TEST_F(LeafCgroup, V2_OthersShareTheGroup_NobodyMovesAndTheReasonIsTold) {
  v2_machine("4711\n" + self_);
  CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "none");
  EXPECT_EQ(tree.server_folder(), "");
  EXPECT_EQ(text_of(unit() / "cgroup.procs"), "4711\n" + self_);
  EXPECT_EQ(text_of(unit() / "cgroup.subtree_control"), "");
  EXPECT_EQ(text_of(unit() / "cgroup.type"), "domain\n");
  EXPECT_EQ(folders_in(unit()), Words{});
  ASSERT_EQ(tree.refused().size(), 3u);
  EXPECT_EQ(tree.refused()[0].find("memory: 2 processes share " + unit().string()), 0u);
}

TEST_F(LeafCgroup, V2_GroupOfThreads_IsLeftAloneAndTheReasonIsTold) {
  v2_machine(self_, "cpu\npids");
  put(unit() / "cgroup.type", "domain threaded\n");
  CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "none");
  EXPECT_EQ(text_of(unit() / "cgroup.procs"), self_);
  ASSERT_EQ(tree.refused().size(), 3u);
  EXPECT_EQ(tree.refused()[1],
            fmt::format("cpu: {} is no plain domain but 'domain threaded'", unit().string()));
}

TEST_F(LeafCgroup, V2_RootGroup_HandsDownWithItsProcessesInside) {
  v2_machine("1\n" + self_);
  fs::remove(unit() / "cgroup.type");
  {
    CgroupTree tree = open();
    EXPECT_EQ(tree.layers(), "memory,cpu,pids (v2)");
    EXPECT_EQ(tree.server_folder(), "");
  }
  EXPECT_EQ(text_of(unit() / "cgroup.procs"), "1\n" + self_);
  EXPECT_EQ(text_of(unit() / "cgroup.subtree_control"), "memory\ncpu\npids") << "others may use it";
}

TEST_F(LeafCgroup, V2_ControllerThatIsNotGiven_LeavesTheOthersInForce) {
  v2_machine(self_, "memory\npids");
  CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "memory,pids (v2)");
  ASSERT_EQ(tree.refused().size(), 1u);
  EXPECT_EQ(
      tree.refused()[0],
      fmt::format("cpu: {} is not given this controller (systemd: Delegate=yes)", unit().string()));
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  EXPECT_EQ(leaf->refused(), Words{});
  EXPECT_EQ(in("cg/unit", "7/pids.max"), "20");
}

TEST_F(LeafCgroup, BothVersions_EachControllerWhereItIs) {
  v1_machine();
  v2_machine(self_, "pids");
  put(root_ / "proc/self/cgroup", "4:memory:/srv\n2:cpu,cpuacct:/\n0::/unit\n");
  put(root_ / "proc/self/mountinfo",
      fmt::format(kMount, "/", "/cg/memory", "cgroup", "memory") +
          fmt::format(kMount, "/", "/cg/cpu,cpuacct", "cgroup", "cpu,cpuacct") +
          fmt::format(kMount, "/", "/cg", "cgroup2", "nsdelegate"));
  CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "memory,cpu (v1), pids (v2)");
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  EXPECT_EQ(tree.folders(), (Words{(root_ / memory_ / ours_).string(),
                                   (root_ / cpu_ / ours_).string(), (unit() / ours_).string()}));
  EXPECT_EQ(leaf->fd(), -1) << "being born in the v2 folder alone would miss two limits";
  EXPECT_EQ(in("cg/unit", "7/pids.max"), "20");
}

TEST_F(LeafCgroup, NoPermission_IsToldInWordsAndALeafLimitsNothing) {
  v1_machine();
  for (const std::string& own : {memory_, cpu_, pids_}) put(root_ / own / "locked", "");
  CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "none");
  ASSERT_EQ(tree.refused().size(), 3u);
  EXPECT_EQ(tree.refused()[0],
            fmt::format("memory: no permission to make {} (Read-only file system); run as root or "
                        "in a delegated cgroup",
                        (root_ / memory_ / ours_).string()));
  Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  EXPECT_TRUE(leaf->add(4711));
  EXPECT_EQ(leaf->enter(), 0);
  EXPECT_EQ(leaf->oom_kills(), std::nullopt);
  EXPECT_EQ(leaf->peak(), std::nullopt);
  EXPECT_TRUE(leaf->try_remove());
}

TEST_F(LeafCgroup, NothingMounted_IsToldForEachController) {
  EXPECT_EQ(open().refused().size(), 3u);
  v2_machine(self_);
  put(root_ / "proc/self/cgroup", "");
  const CgroupTree tree = open();
  EXPECT_EQ(tree.layers(), "none");
  ASSERT_EQ(tree.refused().size(), 3u);
  EXPECT_EQ(tree.refused()[2],
            "pids: no mounted cgroup hierarchy has it and shows the server's cgroup");
}

TEST_F(LeafCgroup, LimitThatTheKernelRefuses_IsToldAndTheOthersHold) {
  v1_machine();
  put(root_ / cpu_ / "refuse.cpu.cfs_quota_us", "");
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  ASSERT_EQ(leaf->refused().size(), 1u);
  EXPECT_EQ(leaf->refused()[0].find("cpu: cannot write 150000 to "), 0u);
  EXPECT_EQ(in(pids_, "7/pids.max"), "20");
}

TEST_F(LeafCgroup, SliverOfACore_IsRaisedToWhatTheKernelTakes) {
  v2_machine(self_);
  CgroupTree tree = open();
  const Result<Leaf> leaf = tree.make_leaf("7", {.cpu_cores = 0.0001});
  EXPECT_EQ(in("cg/unit", "7/cpu.max"), "1000 100000");
}

TEST_F(LeafCgroup, LeafWithProcesses_StaysUntilTheyAreGone) {
  v1_machine();
  CgroupTree tree = open();
  Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf->add(4711));
  EXPECT_FALSE(leaf->try_remove());
  for (const std::string& own : {memory_, cpu_, pids_})
    put(root_ / own / ours_ / "7/cgroup.procs", "");
  EXPECT_TRUE(leaf->try_remove());
  EXPECT_EQ(folders_in(root_ / memory_ / ours_), Words{});
}

TEST_F(LeafCgroup, DestroyedLeaf_IsGoneAtOnce) {
  v1_machine();
  CgroupTree tree = open();
  { ASSERT_TRUE(tree.make_leaf("7", kLimits)); }
  for (const std::string& own : {memory_, cpu_, pids_})
    EXPECT_EQ(folders_in(root_ / own / ours_), Words{});
}

TEST_F(LeafCgroup, DestroyedLeafWithProcesses_IsRemovedByTheTreeLater) {
  v2_machine(self_);
  CgroupTree tree = open();
  {
    Result<Leaf> leaf = tree.make_leaf("7", kLimits);
    ASSERT_TRUE(leaf->add(4711));
    const Leaf moved = std::move(*leaf);
  }
  EXPECT_EQ(tree.remove_left(), 1u);
  const Result<Leaf> second = tree.make_leaf("7", kLimits);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "function_failed");
  put(unit() / ours_ / "7/cgroup.procs", "");
  EXPECT_EQ(tree.remove_left(), 0u);
  EXPECT_EQ(folders_in(unit() / ours_), Words{"server"});
}

TEST_F(LeafCgroup, NameUsedAgain_StartsAfreshAndIsNotRemovedAsTheOldOne) {
  v1_machine();
  CgroupTree tree = open();
  { ASSERT_TRUE(tree.make_leaf("7", kLimits)->add(4711)); }
  EXPECT_EQ(tree.remove_left(), 3u);
  for (const std::string& own : {memory_, cpu_, pids_})
    put(root_ / own / ours_ / "7/cgroup.procs", "");
  put(root_ / memory_ / ours_ / "7/memory.oom_control", "oom_kill 5\n");
  const Result<Leaf> leaf = tree.make_leaf("7", kLimits);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->oom_kills(), 0u);
  EXPECT_EQ(tree.remove_left(), 0u);
  EXPECT_EQ(in(pids_, "7/pids.max"), "20");
}

TEST_F(LeafCgroup, NameWhoseLastProcessEndsJustNow_IsTakenOverAndKept) {
  v2_machine(self_);
  const auto make_as_it_ends = [](const std::string& path) {
    if (fs::exists(path)) put(path + "/cgroup.procs", "");
    return fake_make(path);
  };
  CgroupTree tree = CgroupTree::open(
      {.root = root_.string(), .calls = {make_as_it_ends, fake_remove, fake_write}});
  { ASSERT_TRUE(tree.make_leaf("7", kLimits)->add(4711)); }
  const Result<Leaf> leaf = tree.make_leaf("7", {.pids = 5});
  ASSERT_TRUE(leaf) << leaf.error().message;
  EXPECT_EQ(tree.remove_left(), 0u);
  EXPECT_EQ(in("cg/unit", "7/pids.max"), "5");
  EXPECT_EQ(in("cg/unit", "7/memory.max"), "") << "what the older leaf had";
}

TEST_F(LeafCgroup, Leftovers_OfDeadServersGoAndAllElseStays) {
  v1_machine();
  put(root_ / "proc/41/stat", "");
  for (const char* name : {"glowplug-40", "glowplug-40-x", "glowplug-41", "glowplug-41-x",
                           "glowplug-42", "glowplug-old", "glowplug-40x", "other"}) {
    fake_make((root_ / pids_ / name).string());
    fake_make((root_ / pids_ / name / "3").string());
  }
  put(root_ / pids_ / "glowplug-42/3/cgroup.procs", "4711");
  CgroupTree tree = open();
  EXPECT_EQ(tree.leftovers_removed(), 2);
  Words expected{"glowplug-40x", "glowplug-41", "glowplug-41-x", "glowplug-42", "glowplug-old"};
  expected.insert(expected.end(), {"other", ours_});
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(folders_in(root_ / pids_), expected);
  EXPECT_EQ(folders_in(root_ / pids_ / "glowplug-41"), Words{"3"});
  EXPECT_EQ(tree.remove_left(), 2u);
  put(root_ / pids_ / "glowplug-42/3/cgroup.procs", "");
  EXPECT_EQ(tree.remove_left(), 0u);
  EXPECT_FALSE(fs::exists(root_ / pids_ / "glowplug-42"));
}

TEST_F(LeafCgroup, LeftoverWhoseProcessesEndMeanwhile_IsRemovedAtTheEnd) {
  v1_machine();
  for (const char* name : {"glowplug-40", "glowplug-40/3"})
    fake_make((root_ / pids_ / name).string());
  put(root_ / pids_ / "glowplug-40/3/cgroup.procs", "4711");
  {
    const CgroupTree tree = open();
    put(root_ / pids_ / "glowplug-40/3/cgroup.procs", "");
  }
  EXPECT_EQ(folders_in(root_ / pids_), Words{});
}

TEST_F(LeafCgroup, LeftoverOfADeadServerWithOurNumber_BecomesOurs) {
  v1_machine();
  for (const char* leaf : {"3", "4"}) {
    fs::create_directory(root_ / pids_ / ours_);
    fake_make((root_ / pids_ / ours_ / leaf).string());
  }
  put(root_ / pids_ / ours_ / "4/cgroup.procs", "4711");
  {
    CgroupTree tree = open();
    EXPECT_EQ(folders_in(root_ / pids_ / ours_), Words{"4"});
    EXPECT_EQ(tree.layers(), "memory,cpu,pids (v1)");
    put(root_ / pids_ / ours_ / "4/cgroup.procs", "");
    EXPECT_EQ(tree.remove_left(), 0u);
    EXPECT_TRUE(fs::exists(root_ / pids_ / ours_)) << "our own folder is no leftover";
  }
  EXPECT_EQ(folders_in(root_ / pids_), Words{});
}

TEST_F(LeafCgroup, EndWithALivingReplica_LeavesItsLimitsInForce) {
  v2_machine(self_);
  {
    CgroupTree tree = open();
    ASSERT_TRUE(tree.make_leaf("7", kLimits)->add(4711));
  }
  EXPECT_EQ(in("cg/unit", "7/memory.max"), "67108864");
  EXPECT_EQ(in("cg/unit", "cgroup.subtree_control"), "memory\ncpu\npids");
}

}  // namespace
}  // namespace glowplug::runtime
