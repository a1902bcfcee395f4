#include "runtime/numa_probe.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <sched.h>
#include <system_error>

#include "base/read_file.h"
#include "runtime/device_probe.h"

namespace glowplug::runtime {
namespace {

namespace fs = std::filesystem;

constexpr int kCoreMax = 1 << 16;

std::optional<int> number_of(std::string_view text) {
  int number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

// "Node 0 MemTotal: 2048 kB" says what /proc/meminfo says, behind two words.
std::uint64_t memory_of(const std::string& text) {
  const std::size_t at = text.find("MemTotal:");
  return at == std::string::npos ? 0 : parse_meminfo(std::string_view(text).substr(at)).total_bytes;
}

}  // namespace

std::vector<NumaNode> probe_numa(const std::vector<int>& allowed, const std::string& sys_root) {
  std::vector<NumaNode> nodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sys_root + "/devices/system/node", error)) {
    const std::string name = entry.path().filename().string();
    const auto number = name.starts_with("node") ? number_of(std::string_view(name).substr(4))
                                                 : std::optional<int>();
    if (!number) continue;
    NumaNode node{.node = *number,
                  .memory_bytes = memory_of(read_text(entry.path().string() + "/meminfo"))};
    for (const int core : parse_cpu_list(read_text(entry.path().string() + "/cpulist")))
      node.cores += std::binary_search(allowed.begin(), allowed.end(), core) ? 1 : 0;
    nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.node < b.node; });
  return nodes;
}

std::vector<int> allowed_cores() {
  std::vector<int> cores;
  for (int room = 1024; room <= kCoreMax && cores.empty(); room *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(room));
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(room));
    if (::sched_getaffinity(0, bytes, set) == 0)
      for (int core = 0; core < room; ++core)
        if (CPU_ISSET_S(static_cast<std::size_t>(core), bytes, set)) cores.push_back(core);
    CPU_FREE(set);
  }
  return cores;
}

std::vector<int> parse_cpu_list(std::string_view text) {
  std::vector<int> cores;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  while (!text.empty()) {
    const std::string_view range = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), range.size() + 1));
    const std::size_t dash = range.find('-');
    const auto first = number_of(range.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : number_of(range.substr(dash + 1));
    if (!first || !last || *last >= kCoreMax) continue;
    for (int core = *first; core <= *last; ++core) cores.push_back(core);
  }
  std::sort(cores.begin(), cores.end());
  return cores;
}

}  // namespace glowplug::runtime
