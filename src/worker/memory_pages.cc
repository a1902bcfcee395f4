#include "worker/memory_pages.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <limits.h>
#include <stdlib.h>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>

#include "base/unique_fd.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22  // Linux 5.14; Debian 12's headers have it, older ones may not
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace glowplug::worker {
namespace {

// Smaller mappings hold no cache worth a look.
constexpr std::size_t kMappingBytesMin = 256 * 1024;
constexpr std::size_t kHugePageBytes = 2 * 1024 * 1024;
constexpr std::size_t kPagesAtOnce = 32 * 1024;  // 128 MiB of 4 KiB pages

struct Mapping {
  std::uintptr_t begin = 0, end = 0;
  std::string permissions;
  unsigned long offset = 0;
  unsigned long inode = 0;
  std::string path;
  std::size_t bytes() const { return end - begin; }
};

std::vector<Mapping> own_mappings() {
  std::vector<Mapping> mappings;
  std::ifstream file("/proc/self/maps");
  for (std::string line; std::getline(file, line);) {
    Mapping mapping;
    char permissions[8] = "", path[PATH_MAX] = "";
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %*s %lu %4095[^\n]", &begin, &end, permissions,
                    &mapping.offset, &mapping.inode, path) < 5)
      continue;
    mapping.begin = begin;
    mapping.end = end;
    mapping.permissions = permissions;
    mapping.path = path;
    mappings.push_back(std::move(mapping));
  }
  return mappings;
}

// Looks at whole pages, what the allocator keeps between blocks included, which a sanitizer
// forbids.
__attribute__((no_sanitize("address"))) bool holds_zeroes(const std::uint64_t* words,
                                                          std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (words[i] != 0) return false;
  return true;
}

// A part of a mapping that is looked at in one go.
struct Part {
  std::uintptr_t begin = 0;
  std::size_t pages = 0;
};

// Which of its pages are in memory, so that looking does not bring in the others. `entries` is
// scratch space, used again for each part.
bool read_entries(int pagemap, const Part& part, std::size_t page,
                  std::vector<std::uint64_t>& entries) {
  entries.resize(part.pages);
  const std::size_t bytes = part.pages * sizeof(std::uint64_t);
  const auto offset = static_cast<off_t>(part.begin / page * sizeof(std::uint64_t));
  return ::pread(pagemap, entries.data(), bytes, offset) == static_cast<ssize_t>(bytes);
}

constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;

std::size_t give_back(const Part& part, const std::vector<std::uint64_t>& entries,
                      std::size_t page) {
  std::size_t freed = 0;
  const auto address = [&part, page](std::size_t index) {
    return reinterpret_cast<void*>(part.begin + index * page);
  };
  for (std::size_t i = 0; i < entries.size();) {
    std::size_t end = i;
    while (
        end < entries.size() && (entries[end] & kPresent) &&
        holds_zeroes(static_cast<const std::uint64_t*>(address(end)), page / sizeof(std::uint64_t)))
      ++end;
    if (end > i && ::madvise(address(i), (end - i) * page, MADV_DONTNEED) == 0)
      freed += (end - i) * page;
    i = end + 1;
  }
  return freed;
}

bool is_private_memory(const Mapping& mapping, std::size_t machine_bytes) {
  const bool anonymous = mapping.inode == 0 && (mapping.path.empty() || mapping.path == "[heap]");
  return anonymous && mapping.permissions == "rw-p" && mapping.bytes() >= kMappingBytesMin &&
         mapping.bytes() <= machine_bytes;  // beyond it lie reservations, a sanitizer's
}

}  // namespace

std::size_t give_back_zero_pages() {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return 0;
  const std::size_t machine_bytes = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * page;
  std::vector<std::uint64_t> entries;
  std::size_t freed = 0;
  for (const Mapping& mapping : own_mappings()) {
    if (!is_private_memory(mapping, machine_bytes)) continue;
    for (std::uintptr_t at = mapping.begin; at < mapping.end; at += kPagesAtOnce * page) {
      const Part part{at, std::min(kPagesAtOnce, (mapping.end - at) / page)};
      if (read_entries(pagemap.get(), part, page, entries)) freed += give_back(part, entries, page);
    }
  }
  return freed;
}

void zero(void* memory, std::size_t bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto* const begin = static_cast<char*>(memory);
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  const std::uintptr_t first = (at + page - 1) & ~(page - 1), last = (at + bytes) & ~(page - 1);
  // Refused where pages are locked.
  if (last <= first || ::madvise(begin + (first - at), last - first, MADV_DONTNEED) != 0) {
    std::memset(begin, 0, bytes);
    return;
  }
  std::memset(begin, 0, first - at);
  std::memset(begin + (last - at), 0, at + bytes - last);
}

std::size_t gather_huge_pages() {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return 0;
  const std::size_t machine_bytes = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * page;
  std::vector<std::uint64_t> entries;
  std::size_t gathered = 0;
  for (const Mapping& mapping : own_mappings()) {
    if (!is_private_memory(mapping, machine_bytes)) continue;
    const std::uintptr_t begin = (mapping.begin + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
    for (std::uintptr_t at = begin; at + kHugePageBytes <= mapping.end; at += kHugePageBytes) {
      const Part block{at, kHugePageBytes / page};
      const auto present = [](std::uint64_t entry) { return (entry & kPresent) != 0; };
      if (!read_entries(pagemap.get(), block, page, entries) ||
          !std::all_of(entries.begin(), entries.end(), present))
        continue;
      if (::madvise(reinterpret_cast<void*>(at), kHugePageBytes, MADV_COLLAPSE) == 0)
        gathered += kHugePageBytes;
      else if (errno == EINVAL)
        return gathered;  // not on this kernel, or not with its settings
    }
  }
  return gathered;
}

std::size_t inherit_mappings(const std::string& path) {
  char real[PATH_MAX];
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0 || !::realpath(path.c_str(), real))
    return 0;
  std::size_t inherited = 0;
  for (const Mapping& mapping : own_mappings()) {
    if (mapping.path != real || mapping.inode != status.st_ino || mapping.permissions != "r--s")
      continue;
    // The same bytes, but private; in the old one's place only when it is whole.
    void* const copy =
        ::mmap(nullptr, mapping.bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
               file.get(), static_cast<off_t>(mapping.offset));
    if (copy == MAP_FAILED) continue;
    auto* const first = static_cast<volatile unsigned char*>(copy);
    *first = *first;  // a page of its own
    void* const begin = reinterpret_cast<void*>(mapping.begin);
    if (::mprotect(copy, mapping.bytes(), PROT_READ) != 0 ||
        ::mremap(copy, mapping.bytes(), mapping.bytes(), MREMAP_MAYMOVE | MREMAP_FIXED, begin) ==
            MAP_FAILED) {
      ::munmap(copy, mapping.bytes());
      continue;
    }
    ::madvise(begin, mapping.bytes(), MADV_POPULATE_READ);
    inherited += mapping.bytes();
  }
  return inherited;
}

}  // namespace glowplug::worker
