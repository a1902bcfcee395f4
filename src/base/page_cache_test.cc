#include "base/page_cache.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace glowplug {
namespace {

constexpr std::uint64_t kBytes = (std::uint64_t{48} << 20) + 123;

class PageCache : public ::testing::Test {
 protected:
  PageCache() { std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'x'); }
  ~PageCache() override { std::filesystem::remove(path_); }

  // Whether it is out; on a file system in memory it never is.
  bool thrown_out() const {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    EXPECT_EQ(::fsync(fd.get()), 0);
    for (int attempt = 0; attempt < 100; ++attempt) {
      EXPECT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
      if (resident_bytes(fd.get(), 0, kBytes) == 0) return true;
    }
    return false;
  }

  const std::string path_ =
      std::filesystem::temp_directory_path() / ("page-cache-" + std::to_string(::getpid()));
};

TEST_F(PageCache, FreshlyWrittenFile_IsWhollyThere) {
  for (const Look look : {Look::Exact, Look::Sampled}) {
    const auto found = look_at_page_cache(path_, look);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->file_bytes, kBytes);
    EXPECT_EQ(found->resident_bytes, kBytes);
    EXPECT_TRUE(found->wholly());
  }
}

TEST_F(PageCache, FileThrownOut_IsNotThere_AndHalfOfItIsNotWholly) {
  if (!thrown_out()) GTEST_SKIP() << "this file system keeps its files in memory";
  for (const Look look : {Look::Exact, Look::Sampled}) {
    const auto found = look_at_page_cache(path_, look);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->resident_bytes, 0u);
    EXPECT_FALSE(found->wholly());
  }
  const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
  ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_RANDOM), 0);  // no reading ahead
  std::vector<char> half(kBytes / 2);
  ASSERT_EQ(::pread(fd.get(), half.data(), half.size(), 0), static_cast<ssize_t>(half.size()));
  for (const Look look : {Look::Exact, Look::Sampled}) {
    const auto found = look_at_page_cache(path_, look);
    ASSERT_TRUE(found);
    EXPECT_NEAR(static_cast<double>(found->resident_bytes), static_cast<double>(kBytes) / 2,
                static_cast<double>(kBytes) / 16);
    EXPECT_FALSE(found->wholly());
  }
}

TEST_F(PageCache, MissingOrEmptyFile_IsNotWhollyThere) {
  EXPECT_FALSE(look_at_page_cache("/nowhere/model.gguf", Look::Sampled));
  std::ofstream(path_, std::ios::trunc).flush();
  const auto found = look_at_page_cache(path_, Look::Exact);
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->wholly());
}

}  // namespace
}  // namespace glowplug
