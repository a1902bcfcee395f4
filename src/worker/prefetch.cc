#include "worker/prefetch.h"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>

#include "base/unique_fd.h"

namespace glowplug::worker {
namespace {

// One window is a look, one read and one word of progress.
constexpr std::size_t kWindowBytes = 8 * 1024 * 1024;

// A mapping that is only looked at: nothing of it is faulted in.
class Mapping final {
 public:
  Mapping(int fd, std::size_t bytes)
      : bytes_(bytes), base_(::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0)) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (valid()) ::munmap(base_, bytes_);
  }
  bool valid() const { return base_ != MAP_FAILED; }

  // Whether each page of the window is in memory; `pages` is scratch space.
  bool resident(std::size_t at, std::size_t bytes, std::vector<unsigned char>& pages) const {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    pages.resize((bytes + page - 1) / page);
    if (::mincore(static_cast<char*>(base_) + at, bytes, pages.data()) != 0) return false;
    return std::all_of(pages.begin(), pages.end(), [](unsigned char flags) { return flags & 1; });
  }

 private:
  std::size_t bytes_;
  void* base_;
};

bool read_window(int fd, std::size_t at, std::size_t bytes, std::vector<char>& buffer) {
  buffer.resize(kWindowBytes);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, buffer.data(), bytes, static_cast<off_t>(at));
    if (got <= 0) return false;
    at += static_cast<std::size_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

}  // namespace

std::uint64_t prefetch_file(const std::string& path, const std::function<void(double)>& progress) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0 || status.st_size <= 0) return 0;
  const auto total = static_cast<std::size_t>(status.st_size);
  const Mapping mapping(fd.get(), total);
  if (!mapping.valid()) return 0;
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  std::uint64_t read = 0;
  std::vector<unsigned char> pages;
  std::vector<char> buffer;
  for (std::size_t at = 0; at < total; at += kWindowBytes) {
    const std::size_t bytes = std::min(kWindowBytes, total - at);
    if (!mapping.resident(at, bytes, pages)) {
      if (!read_window(fd.get(), at, bytes, buffer)) return read;
      read += bytes;
      progress(static_cast<double>(at + bytes) / static_cast<double>(total));
    }
  }
  progress(1);
  return read;
}

}  // namespace glowplug::worker
