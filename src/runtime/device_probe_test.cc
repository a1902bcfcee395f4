#include "runtime/device_probe.h"

#include <gtest/gtest.h>

namespace glowplug::runtime {
namespace {

TEST(DeviceProbe, Meminfo_IsReadInBytes) {
  const Meminfo meminfo =
      parse_meminfo("MemTotal:       2048 kB\nMemFree:  5 kB\nMemAvailable:   1024 kB\n");
  EXPECT_EQ(meminfo.total_bytes, 2048u * 1024);
  EXPECT_EQ(meminfo.available_bytes, 1024u * 1024);
  EXPECT_EQ(parse_meminfo("").total_bytes, 0u);
}

TEST(DeviceProbe, CgroupPaths_BothVersions) {
  const CgroupPaths paths =
      parse_cgroup_paths("4:memory:/a/b\n2:cpu,cpuacct:/c:d\n1:name=systemd:/\n0::/u\n");
  EXPECT_EQ(paths.unified, "/u");
  EXPECT_EQ(paths.v1.at("memory"), "/a/b");
  EXPECT_EQ(paths.v1.at("cpu"), "/c:d");
  EXPECT_FALSE(parse_cgroup_paths("nonsense\n1:only\n").unified);
}

TEST(DeviceProbe, CpuLimits_NoLimitIsNothing) {
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 1.5);
  EXPECT_EQ(parse_cpu_max("max 100000\n"), std::nullopt);
  EXPECT_EQ(parse_cpu_max(""), std::nullopt);
  EXPECT_EQ(parse_cpu_quota("400000\n", "100000\n"), 4);
  EXPECT_EQ(parse_cpu_quota("-1\n", "100000\n"), std::nullopt);
  EXPECT_EQ(parse_cpu_quota("100000", "0"), std::nullopt);
}

TEST(DeviceProbe, MemoryLimits_NoLimitIsNothing) {
  EXPECT_EQ(parse_memory_limit("1073741824\n"), 1073741824u);
  EXPECT_EQ(parse_memory_limit("max\n"), std::nullopt);
  EXPECT_EQ(parse_memory_limit("9223372036854771712\n"), std::nullopt);
  EXPECT_EQ(parse_memory_limit(""), std::nullopt);
}

TEST(DeviceProbe, StatField_IsFoundByItsWholeName) {
  EXPECT_EQ(parse_stat_field("inactive_file 1\ntotal_inactive_file 22\n", "total_inactive_file"),
            22u);
  EXPECT_EQ(parse_stat_field("inactive_file 1\n", "file"), 0u);
}

TEST(DeviceProbe, ThisMachine_IsPlausible) {
  const Machine machine = probe_machine();
  EXPECT_GE(machine.cores, 1);
  EXPECT_GT(machine.memory_bytes, 64u * 1024 * 1024);
  EXPECT_GT(machine.memory_available, 0u);
  EXPECT_LE(machine.memory_available, machine.memory_bytes);
}

}  // namespace
}  // namespace glowplug::runtime
