#include "base/prefetch.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <fcntl.h>
#include <mutex>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

#include <sys/mman.h>
#include <sys/stat.h>

#include "base/page_cache.h"
#include "base/unique_fd.h"

namespace glowplug {
namespace {

// bench/cold_read.py compares with the disk's own speed (dd, direct I/O). On a 2-core EPYC with a
// virtual disk one thread of 8 MiB reads reached 0.4 of it, two 1.2, four that populate 1.3.
constexpr int kReaders = 4;
constexpr std::uint64_t kWindowBytes = 16 * 1024 * 1024;
constexpr auto kLookInterval = std::chrono::milliseconds(50);
constexpr int kPopulateRead = 22;  // MADV_POPULATE_READ (Linux 5.14); older headers lack it

// The pages are read without being copied. False when the kernel cannot, or the disk does not give.
bool populate_window(int fd, std::uint64_t at, std::uint64_t bytes) {
  void* base = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(at));
  if (base == MAP_FAILED) return false;
  int failed = 0;
  do failed = ::madvise(base, bytes, kPopulateRead);
  while (failed != 0 && (errno == EINTR || errno == EAGAIN));
  ::munmap(base, bytes);
  return failed == 0;
}

bool read_window(int fd, std::uint64_t at, std::uint64_t bytes, std::vector<char>& buffer) {
  buffer.resize(kWindowBytes);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, buffer.data(), bytes, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
  return true;
}

// The windows of one file, taken by whichever reader is free.
class Reading final {
 public:
  Reading(int fd, std::uint64_t total) : fd_(fd), total_(total) {}

  // Until no window is left. Runs on each reader.
  void run() {
    std::vector<char> buffer;
    while (!stopped_) {
      const std::uint64_t at = next_.fetch_add(kWindowBytes);
      if (at >= total_) break;
      const std::uint64_t bytes = std::min(kWindowBytes, total_ - at);
      if (resident_bytes(fd_, at, bytes) == bytes) {
        note(bytes, 0);
      } else if (populate_window(fd_, at, bytes) || read_window(fd_, at, bytes, buffer)) {
        note(bytes, bytes);
      } else {
        stopped_ = true;
      }
    }
    const std::lock_guard lock(mutex_);
    ++readers_done_;
    changed_.notify_all();
  }

  // Reports until the readers are done; runs on the caller's thread.
  void follow(const PrefetchHooks& hooks, int readers) {
    std::uint64_t told = 0;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait_for(lock, kLookInterval,
                        [&] { return readers_done_ == readers || done_ > told; });
      const bool over = readers_done_ == readers;
      const std::uint64_t now = done_;
      lock.unlock();
      if (now > told) hooks.progress(static_cast<double>(now) / static_cast<double>(total_));
      told = now;
      if (over) return;
      if (hooks.cancelled && hooks.cancelled()) stopped_ = true;
      lock.lock();
    }
  }

  std::uint64_t read() const { return read_; }

 private:
  void note(std::uint64_t done, std::uint64_t read) {
    const std::lock_guard lock(mutex_);
    done_ += done;
    read_ += read;
    changed_.notify_all();
  }

  const int fd_;
  const std::uint64_t total_;
  std::atomic<std::uint64_t> next_ = 0;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t done_ = 0;  // these three under the mutex, until the readers are joined
  std::uint64_t read_ = 0;
  int readers_done_ = 0;
};

}  // namespace

std::uint64_t prefetch_file(const std::string& path, const PrefetchHooks& hooks) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0 || status.st_size <= 0) return 0;
  const auto total = static_cast<std::uint64_t>(status.st_size);
  if (resident_bytes(fd.get(), 0, total) == total) {
    hooks.progress(1);
    return 0;
  }
  if (hooks.cancelled && hooks.cancelled()) return 0;
  Reading reading(fd.get(), total);
  std::vector<std::thread> readers;
  try {
    while (readers.size() < kReaders) readers.emplace_back([&reading] { reading.run(); });
  } catch (const std::system_error&) {
    // No more threads are allowed; those that are there read it all.
  }
  if (readers.empty()) reading.run();
  reading.follow(hooks, std::max(static_cast<int>(readers.size()), 1));
  for (std::thread& reader : readers) reader.join();
  return reading.read();
}

}  // namespace glowplug
