// What a process holds, as the kernel counts it.
//
//   proportional  pages shared with others by their share: the sum over all processes is what they
//                 hold together; shown to people
//   own           pages that nobody else maps, and what of it is swapped out: what its end gives
//                 back. Clean file pages that it alone maps are among them: they can be reclaimed
//                 only once nobody works with them
//   mapped        all that it maps, and what is swapped out: its own, and what it shares
//
// The kernel walks every page of the process for it, some milliseconds for a few hundred megabytes:
// not on the server's loop. Whoever asks makes sure that the process is not reaped meanwhile, or
// throws the answer away.
//
// Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <sys/types.h>

namespace glowplug::runtime {

struct MemoryUse {
  std::uint64_t proportional = 0, own = 0, mapped = 0;  // bytes
  friend bool operator==(const MemoryUse&, const MemoryUse&) = default;
};

// Nothing when it is gone, has no memory any more, or is not ours to look at.
std::optional<MemoryUse> measure_memory(pid_t pid);

std::optional<MemoryUse> parse_smaps_rollup(std::string_view text);

}  // namespace glowplug::runtime
