#include "worker/memory_pages.h"

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>

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

TEST(MappedFile, IsPopulatedWhole) {
  const std::string path =
      std::filesystem::temp_directory_path() / ("mapped-" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << std::string(1 << 20, 'x');
  const UniqueFd fd(::open(path.c_str(), O_RDONLY));
  void* base = ::mmap(nullptr, 1 << 20, PROT_READ, MAP_SHARED, fd.get(), 0);
  ASSERT_NE(base, MAP_FAILED);
  const std::vector<PageRange> ranges = mappings_of(path);
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges.front().begin, base);
  EXPECT_EQ(populate(ranges), std::size_t{1} << 20);
  EXPECT_TRUE(mappings_of("/nowhere").empty());
  ::munmap(base, 1 << 20);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace glowplug::worker
