#include "worker/memory_pages.h"

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/unique_fd.h"

namespace glowplug::worker {
namespace {

constexpr std::size_t kPages = 512;

class Anonymous final {
 public:
  Anonymous()
      : page(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))),
        base(static_cast<char*>(::mmap(nullptr, kPages * page, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    ::madvise(base, kPages * page, MADV_NOHUGEPAGE);
  }
  ~Anonymous() { ::munmap(base, kPages * page); }
  std::size_t resident() const {
    std::vector<unsigned char> flags(kPages);
    ::mincore(base, kPages * page, flags.data());
    std::size_t count = 0;
    for (const unsigned char flag : flags) count += flag & 1;
    return count;
  }
  const std::size_t page;
  char* const base;
};

TEST(ZeroPages, AreGivenBackAndOthersKeepTheirBytes) {
  const Anonymous memory;
  std::memset(memory.base, 0, kPages * memory.page);
  for (std::size_t i = 0; i < kPages; i += 8) memory.base[i * memory.page + 100] = 7;
  ASSERT_EQ(memory.resident(), kPages);
  EXPECT_GE(give_back_zero_pages(), (kPages - kPages / 8) * memory.page);
  EXPECT_EQ(memory.resident(), kPages / 8);
  for (std::size_t i = 0; i < kPages; ++i)
    ASSERT_EQ(memory.base[i * memory.page + 100], i % 8 == 0 ? 7 : 0) << i;
}

TEST(ZeroPages, PagesNeverTouched_AreNotBroughtIn) {
  const Anonymous memory;
  memory.base[0] = 1;
  give_back_zero_pages();
  EXPECT_EQ(memory.resident(), 1u);
}

TEST(Zero, HoldsNoWholePageAndKeepsWhatIsBeside) {
  const Anonymous memory;
  std::memset(memory.base, 'x', kPages * memory.page);
  const std::size_t from = 2 * memory.page + 100, to = 9 * memory.page + 7;
  zero(memory.base + from, to - from);
  EXPECT_EQ(memory.resident(), kPages - 6);  // pages 3 to 8
  for (std::size_t i = 0; i < kPages * memory.page; ++i)
    ASSERT_EQ(memory.base[i], i >= from && i < to ? 0 : 'x') << i;
}

TEST(Zero, LessThanAPage_AndLockedPages_AreWritten) {
  const Anonymous memory;
  std::memset(memory.base, 'x', 4 * memory.page);
  zero(memory.base + 10, 20);
  EXPECT_EQ(memory.base[9], 'x');
  EXPECT_EQ(memory.base[10], 0);
  EXPECT_EQ(memory.base[29], 0);
  EXPECT_EQ(memory.base[30], 'x');
  if (::mlock(memory.base, 4 * memory.page) != 0) GTEST_SKIP() << "may lock no memory";
  zero(memory.base, 4 * memory.page);
  for (std::size_t i = 0; i < 4 * memory.page; ++i) ASSERT_EQ(memory.base[i], 0) << i;
}

// Two aligned huge pages' worth of memory that is all in use.
class HugeBlocks : public ::testing::Test {
 protected:
  static constexpr std::size_t kBlock = 2 * 1024 * 1024;
  HugeBlocks()
      : mapped_(::mmap(nullptr, 3 * kBlock, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0)),
        base((reinterpret_cast<std::uintptr_t>(mapped_) + kBlock - 1) & ~(kBlock - 1)) {
    ::madvise(data(), 2 * kBlock, MADV_NOHUGEPAGE);
    std::memset(data(), 'x', 2 * kBlock);
    ::madvise(data(), 2 * kBlock, MADV_HUGEPAGE);
  }
  ~HugeBlocks() override { ::munmap(mapped_, 3 * kBlock); }
  char* data() const { return reinterpret_cast<char*>(base); }
  // Of the whole process, as the kernel says.
  static std::size_t huge_kib() {
    std::ifstream in("/proc/self/smaps_rollup");
    for (std::string word; in >> word;) {
      std::size_t kib = 0;
      if (word == "AnonHugePages:" && in >> kib) return kib;
    }
    return 0;
  }
  void* const mapped_;
  const std::uintptr_t base;
};

TEST_F(HugeBlocks, WhatIsAllInUse_IsGatheredAndKeepsItsBytes) {
  const std::size_t gathered = gather_huge_pages();
  // It may have none free just now; or they were huge from the beginning.
  if (gathered < 2 * kBlock) GTEST_SKIP() << "this kernel gathers no huge pages";
  EXPECT_GE(huge_kib(), 2 * kBlock / 1024);
  for (std::size_t i = 0; i < 2 * kBlock; i += 4096) ASSERT_EQ(data()[i], 'x') << i;
}

TEST_F(HugeBlocks, BlockWithAPageGivenBack_StaysAsItIs) {
  unsigned char flag = 1;
  // The kernel's own daemon may gather it in between, but not every time.
  for (int tries = 0; tries < 3 && (flag & 1) != 0; ++tries) {
    ::madvise(data() + 8192, 4096, MADV_DONTNEED);
    gather_huge_pages();
    ::mincore(data() + 8192, 4096, &flag);
  }
  EXPECT_EQ(flag & 1, 0);
}

class MappedFile : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 1 << 20;
  MappedFile() {
    std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'x');
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY));
    base_ = ::mmap(nullptr, kBytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  }
  ~MappedFile() override {
    ::munmap(base_, kBytes);
    std::filesystem::remove(path_);
  }
  // Pages of the mapping that a fork finds in its page tables.
  std::size_t mapped_in_a_fork() const {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    int pipe[2];
    if (::pipe(pipe) != 0) return 0;
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::vector<std::uint64_t> entries(kBytes / page);
      const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY));
      const auto at = reinterpret_cast<std::uintptr_t>(base_) / page * sizeof(std::uint64_t);
      const ssize_t got = ::pread(pagemap.get(), entries.data(),
                                  entries.size() * sizeof(std::uint64_t), static_cast<off_t>(at));
      std::size_t count = 0;
      for (const std::uint64_t entry : entries) count += got > 0 && (entry >> 63) != 0 ? 1 : 0;
      [[maybe_unused]] const ssize_t written = ::write(pipe[1], &count, sizeof count);
      ::_exit(0);
    }
    std::size_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(pipe[0], &count, sizeof count);
    ::close(pipe[0]);
    ::close(pipe[1]);
    ::waitpid(pid, nullptr, 0);
    return count * page;
  }
  const std::string path_ =
      std::filesystem::temp_directory_path() / ("mapped-" + std::to_string(::getpid()));
  void* base_ = nullptr;
};

TEST_F(MappedFile, ItsPageTablesAreInherited) {
  ASSERT_NE(base_, MAP_FAILED);
  EXPECT_EQ(mapped_in_a_fork(), 0u);
  EXPECT_EQ(inherit_mappings(path_), kBytes);
  EXPECT_EQ(mapped_in_a_fork(), kBytes);
  EXPECT_EQ(static_cast<const char*>(base_)[0], 'x');
  EXPECT_EQ(static_cast<const char*>(base_)[kBytes - 1], 'x');
}

TEST_F(MappedFile, ReplacedMeanwhile_TheMappingKeepsItsBytes) {
  std::filesystem::rename(path_, path_ + ".old");
  std::ofstream(path_, std::ios::binary) << std::string(kBytes, 'y');
  EXPECT_EQ(inherit_mappings(path_), 0u);
  EXPECT_EQ(static_cast<const char*>(base_)[0], 'x');
  EXPECT_EQ(inherit_mappings("/nowhere"), 0u);
  std::filesystem::remove(path_ + ".old");
}

}  // namespace
}  // namespace glowplug::worker
