#include "models/file_lock.h"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "models/test_folder.h"

namespace glowplug::models {
namespace {

class FileLockTest : public ::testing::Test {
 protected:
  bool is_free() const {
    const auto lock = FileLock::try_take(path_);
    EXPECT_TRUE(lock.ok()) << lock.error().message;
    return lock.ok() && lock->has_value();
  }

  const TestFolder folder_;
  const std::string path_ = folder_.path() + "/a.lock";
};

TEST_F(FileLockTest, Held_IsRefusedUntilItsOwnerIsGone) {
  {
    const auto held = FileLock::try_take(path_);
    ASSERT_TRUE(held.ok() && held->has_value());
    EXPECT_FALSE(is_free());
  }
  EXPECT_TRUE(is_free());
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(FileLockTest, KilledHolder_LeavesItFree) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {  // another process: it takes the lock, says so, and never lets go
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT, 0600);
    const char word = ::flock(fd, LOCK_EX) == 0 ? 'y' : 'n';
    [[maybe_unused]] const ssize_t told = ::write(ready[1], &word, 1);
    while (true) ::pause();
  }
  char word = 0;
  ASSERT_EQ(::read(ready[0], &word, 1), 1);
  EXPECT_EQ(word, 'y');
  EXPECT_FALSE(is_free());
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(std::filesystem::exists(path_));
  EXPECT_TRUE(is_free());
  ::close(ready[0]);
  ::close(ready[1]);
}

// The file is removed at each release, so this finds two holders if a removed file's lock counted.
TEST_F(FileLockTest, ManyThreads_OneInsideAtATime) {
  std::atomic<int> inside = 0;
  std::atomic<int> turns = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int turn = 0; turn < 100; ++turn) {
        const auto lock = FileLock::take(path_);
        if (!lock) return;
        if (inside.fetch_add(1) == 0) ++turns;
        std::this_thread::yield();
        inside.fetch_sub(1);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(turns, 4 * 100);
}

TEST_F(FileLockTest, NoFolder_IsAStorageFault) {
  const auto lock = FileLock::try_take(folder_.path() + "/none/a.lock");
  ASSERT_FALSE(lock.ok());
  EXPECT_EQ(lock.error().code, "storage_failed");
  EXPECT_NE(lock.error().message.find("none/a.lock"), std::string::npos);
}

}  // namespace
}  // namespace glowplug::models
