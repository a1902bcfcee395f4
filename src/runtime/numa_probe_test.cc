#include "runtime/numa_probe.h"

#include <filesystem>
#include <fstream>

#include <unistd.h>

#include <gtest/gtest.h>

#include "runtime/device_probe.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

class Machines : public testing::Test {
 protected:
  ~Machines() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) const {
    const fs::path file = root_ + "/" + path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  const std::string root_ =
      testing::TempDir() + "numa_probe_machine" + std::to_string(::getpid());
};

TEST_F(Machines, Nodes_HaveTheirCoresWithinTheAffinity) {
  const std::string nodes = "devices/system/node/";
  put(nodes + "node1/cpulist", "4-7\n");
  put(nodes + "node1/meminfo", "Node 1 MemTotal:        4096 kB\nNode 1 MemFree: 1 kB\n");
  put(nodes + "node0/cpulist", "0-3\n");
  put(nodes + "node0/meminfo", "Node 0 MemTotal:        2048 kB\n");
  put(nodes + "node10/cpulist", "\n");  // memory alone
  put(nodes + "node10/meminfo", "Node 10 MemTotal:        1024 kB\n");
  put(nodes + "possible", "0-1\n");
  EXPECT_EQ(
      probe_numa({0, 1, 2, 3, 6}, root_),
      (std::vector<NumaNode>{{0, 4, 2048u << 10}, {1, 1, 4096u << 10}, {10, 0, 1024u << 10}}));
}

TEST_F(Machines, KernelWithoutNodes_HasNone) { EXPECT_TRUE(probe_numa({0}, root_).empty()); }

TEST_F(Machines, QuotaAndMemory_AreThoseOfTheWholePath) {
  put("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n");
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/a/cpu.max", "100000 100000\n");
  put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/a/b/memory.max", "1048576\n");
  const Machine machine = probe_machine(root_);
  EXPECT_EQ(machine.cores, 1);
  EXPECT_EQ(machine.memory_bytes, 1'048'576u);
}

TEST_F(Machines, QuotaBelowOneCore_IsOne_AndHalvesAreRoundedDown) {
  put("proc/self/cgroup", "3:cpu,cpuacct:/x\n");
  put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "50000\n");
  put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(probe_machine(root_).cores, 1);
  put("sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "190000\n");
  EXPECT_EQ(probe_machine(root_).cores, 1);
}

TEST(CpuList, ReadsRanges_AndPassesOverNonsense) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11\n"), (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list("5\n"), (std::vector<int>{5}));
  EXPECT_EQ(parse_cpu_list("\n"), std::vector<int>{});
  EXPECT_EQ(parse_cpu_list("3-1,x,-,2-,0-99999999,1"), (std::vector<int>{1}));
}

TEST(AllowedCores, AreThoseOfThisMachine) {
  const std::vector<int> cores = allowed_cores();
  ASSERT_FALSE(cores.empty());
  EXPECT_LE(probe_machine().cores, static_cast<int>(cores.size()));
}

}  // namespace
}  // namespace glowplug::runtime
