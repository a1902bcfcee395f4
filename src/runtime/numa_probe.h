// The machine's NUMA nodes: which cores and how much memory are near each other.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace glowplug::runtime {

struct NumaNode {
  int node = 0;
  int cores = 0;  // of those that this process may run on
  std::uint64_t memory_bytes = 0;
  friend bool operator==(const NumaNode&, const NumaNode&) = default;
};

// In rising order; empty where the kernel tells of none. `allowed`: the cores of the affinity.
std::vector<NumaNode> probe_numa(const std::vector<int>& allowed,
                                 const std::string& sys_root = "/sys");

// The numbers of the cores that this process may run on, in rising order.
std::vector<int> allowed_cores();

// "0-3,8,10-11"; nothing of what makes no sense.
std::vector<int> parse_cpu_list(std::string_view text);

}  // namespace glowplug::runtime
