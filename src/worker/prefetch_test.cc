#include "worker/prefetch.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace glowplug::worker {
namespace {

constexpr std::size_t kBytes = 20 * 1024 * 1024 + 123;

class Prefetch : public ::testing::Test {
 protected:
  Prefetch() { std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'x'); }
  ~Prefetch() override { std::filesystem::remove(path_); }

  std::uint64_t run() {
    return prefetch_file(path_, [this](double fraction) { seen_.push_back(fraction); });
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
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
  ASSERT_EQ(::fsync(fd.get()), 0);
  ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  const std::uint64_t read = run();
  if (read == 0) {  // a file system in memory
    EXPECT_EQ(seen_, std::vector<double>{1});
    return;
  }
  EXPECT_GT(read, kBytes / 2);  // the kernel may keep pages that it is told to drop
  EXPECT_LE(read, kBytes);
  EXPECT_GE(seen_.size(), 3u);
  EXPECT_TRUE(std::is_sorted(seen_.begin(), seen_.end()));
  EXPECT_EQ(seen_.back(), 1);
  seen_.clear();
  EXPECT_EQ(run(), 0u);
}

TEST_F(Prefetch, MissingOrEmptyFile_IsLeftToTheEngine) {
  EXPECT_EQ(prefetch_file("/nowhere/model.gguf", [](double) { FAIL(); }), 0u);
  std::ofstream(path_, std::ios::trunc).flush();
  EXPECT_EQ(prefetch_file(path_, [](double) { FAIL(); }), 0u);
}

}  // namespace
}  // namespace glowplug::worker
