#include "base/prefetch.h"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/unique_fd.h"

namespace glowplug {
namespace {

constexpr std::size_t kBytes = 200 * 1024 * 1024 + 123;

class Prefetch : public ::testing::Test {
 protected:
  Prefetch() { std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'x'); }
  ~Prefetch() override { std::filesystem::remove(path_); }

  std::uint64_t run() {
    return prefetch_file(path_, {[this](double fraction) { seen_.push_back(fraction); }, {}});
  }

  std::size_t resident_pages() const {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    void* base = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd.get(), 0);
    std::vector<unsigned char> pages(kBytes / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) +
                                     1);
    EXPECT_EQ(::mincore(base, kBytes, pages.data()), 0);
    ::munmap(base, kBytes);
    return static_cast<std::size_t>(
        std::count_if(pages.begin(), pages.end(), [](unsigned char flags) { return flags & 1; }));
  }

  // The kernel may keep pages that are in use at the moment it is told to drop them.
  void throw_out() const {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    ASSERT_EQ(::fsync(fd.get()), 0);
    for (int attempt = 0; attempt < 100 && resident_pages() > 0; ++attempt)
      ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  }

  const std::string path_ =
      std::filesystem::temp_directory_path() / ("prefetch-" + std::to_string(::getpid()));
  std::vector<double> seen_;
};

TEST_F(Prefetch, ResidentFile_NothingIsRead) {
  EXPECT_EQ(run(), 0u);
  EXPECT_EQ(seen_, std::vector<double>{1});
}

TEST_F(Prefetch, FileThrownOutOfTheCache_IsReadWithRisingProgress) {
  throw_out();
  const std::uint64_t read = run();
  if (read == 0) {  // a file system in memory
    EXPECT_EQ(seen_, std::vector<double>{1});
    return;
  }
  // The kernel's readahead may have brought a window in before it is looked at, never the first.
  EXPECT_GE(read, kBytes % (std::uint64_t{16} << 20));
  EXPECT_LE(read, kBytes);
  EXPECT_GE(resident_pages() * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), kBytes);
  EXPECT_FALSE(seen_.empty());
  EXPECT_TRUE(std::is_sorted(seen_.begin(), seen_.end()));
  EXPECT_EQ(seen_.back(), 1);
  seen_.clear();
  EXPECT_EQ(run(), 0u);
}

TEST_F(Prefetch, StopIsPendingAlready_NothingIsRead) {
  throw_out();
  if (resident_pages() > 0) GTEST_SKIP() << "this file system keeps its files in memory";
  EXPECT_EQ(prefetch_file(path_, {[](double) { FAIL(); }, [] { return true; }}), 0u);
  EXPECT_EQ(resident_pages(), 0u);
}

// A template may have no other thread when it forks.
TEST_F(Prefetch, WhenItReturns_NoThreadIsLeft) {
  throw_out();
  run();
  const auto tasks = [] {
    const std::filesystem::directory_iterator list("/proc/self/task");
    return std::distance(begin(list), end(list));
  };
  // A thread that was joined runs no code any more; the kernel may list it for an instant.
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (tasks() != 1 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(tasks(), 1);
}

TEST_F(Prefetch, MissingOrEmptyFile_IsLeftToTheEngine) {
  EXPECT_EQ(prefetch_file("/nowhere/model.gguf", {[](double) { FAIL(); }, {}}), 0u);
  std::ofstream(path_, std::ios::trunc).flush();
  EXPECT_EQ(prefetch_file(path_, {[](double) { FAIL(); }, {}}), 0u);
}

}  // namespace
}  // namespace glowplug
