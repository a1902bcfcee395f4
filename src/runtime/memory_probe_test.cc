#include "runtime/memory_probe.h"

#include <csignal>
#include <cstring>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

namespace glowplug::runtime {
namespace {

constexpr std::size_t kMiB = 1024 * 1024;

TEST(MemoryProbe, Rollup_IsTakenApart) {
  EXPECT_EQ(parse_smaps_rollup("00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\n"
                               "Rss:                 900 kB\n"
                               "Pss:                 500 kB\n"
                               "Pss_Dirty:            77 kB\n"
                               "Shared_Clean:        400 kB\n"
                               "Shared_Dirty:        200 kB\n"
                               "Private_Clean:       100 kB\n"
                               "Private_Dirty:       200 kB\n"
                               "Swap:                 10 kB\n"
                               "SwapPss:               5 kB\n"),
            (MemoryUse{.proportional = 500 * 1024, .own = 310 * 1024, .mapped = 910 * 1024}));
}

TEST(MemoryProbe, NothingToCount_IsNothing) {
  EXPECT_EQ(parse_smaps_rollup(""), std::nullopt);
  EXPECT_EQ(parse_smaps_rollup("Rss:  0 kB\nPss: 0 kB\n"), std::nullopt);
  EXPECT_EQ(parse_smaps_rollup("Rss:\nPss\n:\n"), std::nullopt);
}

TEST(MemoryProbe, GoneProcess_IsNothing) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  ::waitpid(pid, nullptr, 0);
  EXPECT_EQ(measure_memory(pid), std::nullopt);
}

// What a fork shares with its parent is not its own until it writes.
TEST(MemoryProbe, Fork_OwnsWhatItWrites) {
  constexpr std::size_t kBytes = 32 * kMiB;
  void* const memory =
      ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 1, kBytes);
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::memset(memory, 2, kBytes / 2);
    [[maybe_unused]] const ssize_t said = ::write(pipe_ends[1], "w", 1);
    ::pause();
    ::_exit(0);
  }
  char word = 0;
  ASSERT_EQ(::read(pipe_ends[0], &word, 1), 1);
  const auto use = measure_memory(pid);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  ::munmap(memory, kBytes);
  ASSERT_TRUE(use);
  EXPECT_GE(use->own, kBytes / 2);
  EXPECT_LT(use->own, kBytes);
  EXPECT_GE(use->mapped, kBytes);
  EXPECT_LT(use->proportional, use->mapped);
}

}  // namespace
}  // namespace glowplug::runtime
