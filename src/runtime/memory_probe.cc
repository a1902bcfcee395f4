#include "runtime/memory_probe.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/read_file.h"

namespace glowplug::runtime {

std::optional<MemoryUse> measure_memory(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/smaps_rollup", pid));
  return text ? parse_smaps_rollup(*text) : std::nullopt;
}

// Lines of "Name:   123 kB" behind a head line.
std::optional<MemoryUse> parse_smaps_rollup(std::string_view text) {
  MemoryUse use;
  bool counted = false;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t colon = line.find(':');
    const std::size_t digits = line.find_first_of("0123456789", colon);
    if (colon == std::string_view::npos || digits == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, colon);
    std::uint64_t bytes = 0;
    std::from_chars(line.data() + digits, line.data() + line.size(), bytes);
    bytes *= 1024;
    if (name == "Rss") {
      use.mapped += bytes;
      counted = true;
    }
    if (name == "Pss") use.proportional = bytes;
    if (name == "Private_Clean" || name == "Private_Dirty") use.own += bytes;
    if (name == "Swap") {
      use.own += bytes;
      use.mapped += bytes;
    }
  }
  if (!counted || use.mapped == 0) return std::nullopt;
  return use;
}

}  // namespace glowplug::runtime
