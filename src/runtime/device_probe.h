// What this machine really gives us: cores by affinity and cgroup quota, memory by meminfo and
// cgroup limit.
//
// Control groups of both versions are read along the whole path up to the root, because every level
// may limit. The parse functions are pure, over the text of the kernel's files; nothing there means
// "no limit". Accelerators are nvml_probe.h's.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/numa_probe.h"

namespace glowplug::runtime {

struct Machine {
  int cores = 1;                       // affinity and CPU quota, rounded down, at least 1
  std::uint64_t memory_bytes = 0;      // the lesser of MemTotal and every cgroup limit
  std::uint64_t memory_available = 0;  // of these, without pages that the kernel can drop
  std::vector<NumaNode> nodes = {};
};

// Below `root`, which tests set, stand proc and sys; the affinity is this process's own.
Machine probe_machine(const std::string& root = {});

struct Meminfo {
  std::uint64_t total_bytes = 0;
  std::uint64_t available_bytes = 0;
};
struct CgroupPaths {
  std::optional<std::string> unified;                  // version 2
  std::map<std::string, std::string, std::less<>> v1;  // by controller: "memory", "cpu"
};

Meminfo parse_meminfo(std::string_view text);
CgroupPaths parse_cgroup_paths(std::string_view text);       // /proc/self/cgroup
std::optional<double> parse_cpu_max(std::string_view text);  // version 2 cpu.max: cores
std::optional<double> parse_cpu_quota(std::string_view quota_us,
                                      std::string_view period_us);  // version 1: cores
std::optional<std::uint64_t> parse_memory_limit(
    std::string_view text);  // memory.max, memory.limit_in_bytes
std::uint64_t parse_stat_field(std::string_view text,
                               std::string_view name);  // memory.stat; 0 when absent

}  // namespace glowplug::runtime
