#include "runtime/device_probe.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <unistd.h>
#include <vector>

#include "base/read_file.h"

namespace glowplug::runtime {
namespace {

constexpr std::uint64_t kUnlimitedFrom = std::uint64_t{1}
                                         << 60;  // version 1 writes "none" as almost 2^63

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t begin = text.find_first_not_of(separators);
    if (begin == std::string_view::npos) return parts;
    const std::size_t end = std::min(text.find_first_of(separators, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

template <typename Number>
std::optional<Number> to_number(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  Number number{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The folder of a group and of each group above it. In a container the path may not exist below the
// mount; then the levels that do exist still count.
std::vector<std::string> levels(const std::string& mount, std::string path) {
  std::vector<std::string> folders;
  while (!path.empty() && path != "/") {
    folders.push_back(mount + path);
    path.resize(path.rfind('/'));
  }
  folders.push_back(mount);
  return folders;
}

struct Limits {
  double cores = std::numeric_limits<double>::infinity();
  std::uint64_t memory_bytes = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t memory_available = std::numeric_limits<std::uint64_t>::max();

  void lower_cores(std::optional<double> limit) {
    if (limit) cores = std::min(cores, *limit);
  }
  void lower_memory(std::optional<std::uint64_t> limit, std::uint64_t used,
                    std::uint64_t droppable) {
    if (!limit) return;
    memory_bytes = std::min(memory_bytes, *limit);
    const std::uint64_t held = used - std::min(used, droppable);
    memory_available = std::min(memory_available, *limit - std::min(*limit, held));
  }
};

std::uint64_t read_number(const std::string& path) {
  return to_number<std::uint64_t>(read_text(path)).value_or(0);
}

void read_unified(const std::string& root, const std::string& path, Limits& limits) {
  for (const std::string& mount : {root, root + "/unified"})
    for (const std::string& folder : levels(mount, path)) {
      limits.lower_cores(parse_cpu_max(read_text(folder + "/cpu.max")));
      limits.lower_memory(parse_memory_limit(read_text(folder + "/memory.max")),
                          read_number(folder + "/memory.current"),
                          parse_stat_field(read_text(folder + "/memory.stat"), "inactive_file"));
    }
}

void read_v1(const std::string& root, const CgroupPaths& paths, Limits& limits) {
  if (const auto cpu = paths.v1.find("cpu"); cpu != paths.v1.end())
    for (const std::string& mount : {root + "/cpu", root + "/cpu,cpuacct"})
      for (const std::string& folder : levels(mount, cpu->second))
        limits.lower_cores(parse_cpu_quota(read_text(folder + "/cpu.cfs_quota_us"),
                                           read_text(folder + "/cpu.cfs_period_us")));
  if (const auto memory = paths.v1.find("memory"); memory != paths.v1.end())
    for (const std::string& folder : levels(root + "/memory", memory->second))
      limits.lower_memory(
          parse_memory_limit(read_text(folder + "/memory.limit_in_bytes")),
          read_number(folder + "/memory.usage_in_bytes"),
          parse_stat_field(read_text(folder + "/memory.stat"), "total_inactive_file"));
}

int affinity_cores(const std::vector<int>& allowed) {
  if (!allowed.empty()) return static_cast<int>(allowed.size());
  return static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

Machine probe_machine(const std::string& root) {
  const std::string groups = root + "/sys/fs/cgroup";
  const CgroupPaths paths = parse_cgroup_paths(read_text(root + "/proc/self/cgroup"));
  Limits limits;
  if (paths.unified) read_unified(groups, *paths.unified, limits);
  read_v1(groups, paths, limits);
  const Meminfo meminfo = parse_meminfo(read_text(root + "/proc/meminfo"));
  const std::vector<int> allowed = allowed_cores();
  const double cores = std::floor(std::min<double>(affinity_cores(allowed), limits.cores));
  return Machine{.cores = std::max(1, static_cast<int>(cores)),
                 .memory_bytes = std::min(meminfo.total_bytes, limits.memory_bytes),
                 .memory_available = std::min(meminfo.available_bytes, limits.memory_available),
                 .nodes = probe_numa(allowed, root + "/sys")};
}

Meminfo parse_meminfo(std::string_view text) {
  Meminfo meminfo;
  for (const std::string_view line : split(text, "\n")) {
    const std::vector<std::string_view> words = split(line, " \t");
    if (words.size() < 2) continue;
    const std::uint64_t bytes = to_number<std::uint64_t>(words[1]).value_or(0) * 1024;
    if (words[0] == "MemTotal:") meminfo.total_bytes = bytes;
    if (words[0] == "MemAvailable:") meminfo.available_bytes = bytes;
  }
  return meminfo;
}

CgroupPaths parse_cgroup_paths(std::string_view text) {
  CgroupPaths paths;
  for (const std::string_view line : split(text, "\n")) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string path(line.substr(second + 1));
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) paths.unified = path;
    for (const std::string_view controller : split(controllers, ","))
      paths.v1.emplace(controller, path);
  }
  return paths;
}

std::optional<double> parse_cpu_max(std::string_view text) {
  const std::vector<std::string_view> words = split(text, " \n");
  return words.size() == 2 ? parse_cpu_quota(words[0], words[1]) : std::nullopt;
}

std::optional<double> parse_cpu_quota(std::string_view quota_us, std::string_view period_us) {
  const std::optional<long long> quota = to_number<long long>(quota_us);
  const std::optional<long long> period = to_number<long long>(period_us);
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<std::uint64_t> parse_memory_limit(std::string_view text) {
  const std::optional<std::uint64_t> limit = to_number<std::uint64_t>(text);
  return limit && *limit < kUnlimitedFrom ? limit : std::nullopt;
}

std::uint64_t parse_stat_field(std::string_view text, std::string_view name) {
  for (const std::string_view line : split(text, "\n")) {
    const std::vector<std::string_view> words = split(line, " ");
    if (words.size() == 2 && words[0] == name)
      return to_number<std::uint64_t>(words[1]).value_or(0);
  }
  return 0;
}

}  // namespace glowplug::runtime
