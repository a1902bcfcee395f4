#include "base/page_cache.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/unique_fd.h"

namespace glowplug {
namespace {

constexpr std::uint64_t kStripes = 512;
constexpr std::uint64_t kStripeBytes = 64 * 1024;
constexpr long kCachestat = 451;  // the same number on every architecture

// As <linux/mman.h> has them; older headers lack them.
struct CachestatRange {
  std::uint64_t at, bytes;
};
struct Cachestat {
  std::uint64_t cached, dirty, writeback, evicted, recently_evicted;  // pages
};

std::uint64_t page_bytes() {
  static const auto bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

// For a whole mapping at once: the vector has a byte for each page.
std::optional<std::uint64_t> by_mincore(int fd, std::uint64_t at, std::uint64_t bytes) {
  const std::uint64_t begin = at / page_bytes() * page_bytes();
  const std::uint64_t length = at + bytes - begin;
  void* base = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(begin));
  if (base == MAP_FAILED) return std::nullopt;
  std::vector<unsigned char> pages((length + page_bytes() - 1) / page_bytes());
  const int failed = ::mincore(base, length, pages.data());
  ::munmap(base, length);
  if (failed != 0) return std::nullopt;
  const auto resident =
      std::count_if(pages.begin(), pages.end(), [](unsigned char flags) { return flags & 1; });
  return std::min(static_cast<std::uint64_t>(resident) * page_bytes(), bytes);
}

}  // namespace

std::optional<std::uint64_t> resident_bytes(int fd, std::uint64_t at, std::uint64_t bytes) {
  if (bytes == 0) return 0;
  CachestatRange range{at, bytes};
  Cachestat found{};
  if (::syscall(kCachestat, fd, &range, &found, 0) == 0)
    return std::min(found.cached * page_bytes(), bytes);
  return by_mincore(fd, at, bytes);
}

std::optional<Residency> look_at_page_cache(const std::string& path, Look look) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return std::nullopt;
  Residency residency{.file_bytes = static_cast<std::uint64_t>(status.st_size)};
  const std::uint64_t total = residency.file_bytes;
  if (look == Look::Exact || total <= kStripes * kStripeBytes) {
    const auto found = resident_bytes(fd.get(), 0, total);
    if (!found) return std::nullopt;
    residency.resident_bytes = *found;
    return residency;
  }
  std::uint64_t seen = 0;
  for (std::uint64_t i = 0; i < kStripes; ++i) {
    const std::uint64_t at =
        (total - kStripeBytes) / (kStripes - 1) * i / page_bytes() * page_bytes();
    const auto found = resident_bytes(fd.get(), at, kStripeBytes);
    if (!found) return std::nullopt;
    seen += *found;
  }
  const double share = static_cast<double>(seen) / static_cast<double>(kStripes * kStripeBytes);
  residency.resident_bytes = static_cast<std::uint64_t>(share * static_cast<double>(total));
  return residency;
}

bool is_resident(const std::string& path) {
  const std::optional<Residency> held = look_at_page_cache(path, Look::Sampled);
  return held && held->wholly();
}

}  // namespace glowplug
