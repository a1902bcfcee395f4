// How much of a file the kernel holds in memory, asked of the kernel: cachestat where it has it
// (Linux 6.5), else mincore.
//
// Exact looks cost about 10 ms for each GB; a sampled look at most half a millisecond, whatever the
// size. Nothing is read from the disk by looking.
//
// Thread: pure functions of the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace glowplug {

// Bytes in memory of [at, at + bytes); empty when the kernel does not say.
std::optional<std::uint64_t> resident_bytes(int fd, std::uint64_t at, std::uint64_t bytes);

struct Residency {
  std::uint64_t file_bytes = 0;
  std::uint64_t resident_bytes = 0;
  // The share from which a load needs no disk worth speaking of.
  bool wholly() const { return file_bytes > 0 && resident_bytes >= file_bytes / 20 * 19; }
};

enum class Look { Exact, Sampled };

// Empty when the file cannot be opened or the kernel does not say. A sampled look at a file over
// 32 MiB asks for 512 stripes of it, evenly spread, and scales what it finds.
std::optional<Residency> look_at_page_cache(const std::string& path, Look look);

// Whether a sampled look finds it wholly there; false where the kernel does not say.
bool is_resident(const std::string& path);

}  // namespace glowplug
