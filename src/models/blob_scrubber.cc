#include "models/blob_scrubber.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sched.h>
#include <unistd.h>

#include <sys/syscall.h>

#include "models/sha256.h"

namespace glowplug::models {
namespace {

constexpr std::size_t kWindowBytes = 4 << 20;
constexpr std::size_t kAlignment = 4096;  // of O_DIRECT

// Refused, it runs at the ordinary priority: the rate is bounded all the same.
void take_lowest_priority() {
  const sched_param none{};
  ::sched_setscheduler(0, SCHED_IDLE, &none);
  constexpr int kWhoProcess = 1;       // with 0: this thread
  constexpr int kClassIdle = 3 << 13;  // <linux/ioprio.h>
  ::syscall(SYS_ioprio_set, kWhoProcess, 0, kClassIdle);
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

Time steady_now() { return std::chrono::steady_clock::now(); }

}  // namespace

BlobScrubber::BlobScrubber(ModelCache& cache, ScrubOptions options)
    : cache_(cache), options_(options), thread_([this] { run(); }) {}

BlobScrubber::~BlobScrubber() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  cache_.flush();
}

void BlobScrubber::verify_soon(const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  if (std::find(asked_.begin(), asked_.end(), sha256) == asked_.end()) asked_.push_back(sha256);
  changed_.notify_all();
}

bool BlobScrubber::done_within(Duration limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return asked_.empty(); });
}

void BlobScrubber::run() {
  take_lowest_priority();
  while (sleep_until_wanted()) {
    std::string wanted;
    {
      const std::lock_guard lock(mutex_);
      if (!asked_.empty()) wanted = asked_.front();
    }
    if (!wanted.empty()) {
      check(wanted, Pace::Full);
      const std::lock_guard lock(mutex_);
      asked_.pop_front();
      changed_.notify_all();
      continue;
    }
    cache_.flush();
    if (const std::string due = next_due(); !due.empty()) check(due, Pace::Bounded);
  }
}

bool BlobScrubber::sleep_until_wanted() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, options_.look_every, [this] { return stopping_ || !asked_.empty(); });
  return !stopping_;
}

std::string BlobScrubber::next_due() const {
  if (options_.every == Duration(0)) return {};
  const auto order = cache_.by_age();
  if (order.empty()) return {};
  const auto every = std::chrono::duration_cast<std::chrono::milliseconds>(options_.every).count();
  return order.front().first + every <= cache_.now_ms() ? order.front().second : std::string();
}

void BlobScrubber::check(const std::string& sha256, Pace pace) {
  std::string found;
  std::string fault;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto path = cache_.folder().find(sha256);
    if (!path) return;  // evicted, or moved aside by another server
    const auto before = mark_of(*path);
    fault.clear();
    found = measure(*path, pace, fault);
    if (found.empty() && fault.empty()) return;  // cut short
    if (found == sha256 && before && before == mark_of(*path))
      return cache_.verified(sha256, *path, *before);
  }
  if (found == sha256) return;  // its mark moves all the time; the next start looks at it
  cache_.quarantine(sha256, fault.empty() ? "its bytes have the SHA-256 " + found
                                          : "it cannot be read: " + fault);
}

std::string BlobScrubber::measure(const std::string& path, Pace pace, std::string& fault) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  if (!fd.valid()) fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return {};
  const std::unique_ptr<void, Free> window(std::aligned_alloc(kAlignment, kWindowBytes));
  if (!window) return {};
  const Time began = steady_now();
  Sha256 hasher;
  std::uint64_t at = 0;
  while (true) {
    const ssize_t got = ::pread(fd.get(), window.get(), kWindowBytes, static_cast<off_t>(at));
    if (got == 0) return hasher.hex();
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EINVAL && (::fcntl(fd.get(), F_GETFL) & O_DIRECT) != 0) {
      fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));  // not on this file system
      continue;
    }
    if (got < 0) {
      fault = std::strerror(errno);
      return {};
    }
    hasher.add(window.get(), static_cast<std::size_t>(got));
    at += static_cast<std::uint64_t>(got);
    if (!wait_for_pace(pace == Pace::Full ? Time::min() : began, at)) return {};
  }
}

// False when it must end.
bool BlobScrubber::wait_for_pace(Time began, std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  if (began == Time::min()) return !stopping_;
  const std::chrono::duration<double> least(static_cast<double>(bytes) /
                                            static_cast<double>(options_.bytes_per_second));
  changed_.wait_until(lock, began + std::chrono::duration_cast<Duration>(least),
                      [this] { return stopping_; });
  return !stopping_;
}

}  // namespace glowplug::models
