#include "app/decision_recorder.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace glowplug::app {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr std::uint64_t kMB = 1'000'000;

class DecisionRecorderTest : public testing::Test {
 protected:
  DecisionRecorderTest() {
    char name[] = "/tmp/gp-decisions-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~DecisionRecorderTest() override { fs::remove_all(dir_); }

  void open(DecisionRecorder::Options options = {}) {
    options.folder = dir_ + "/decisions";
    if (options.bytes_max == 0) options.bytes_max = 10 * kMB;
    if (options.now == WallTime{}) options.now = WallTime(1'795'844'236'123ms);
    auto opened = DecisionRecorder::open(std::move(options), kBrain);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    recorder_ = std::move(opened).value();
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) {
      now_ += 1ms;
      const control::Event event = control::WarmWanted{.function = "none", .count = i % 5};
      const control::Effects effects = brain_.handle(event, now_);
      recorder_->turn(event, now_, {}, effects, brain_);
    }
  }
  struct Read {
    std::string fault;
    std::uint64_t turns = 0;
    std::string end;
  };
  // What a replay says of the log; `fault` also where a line has no end.
  Read close_and_replay() {
    const std::string path = recorder_->path();
    recorder_.reset();
    return replayed(path);
  }
  static Read replayed(const std::string& path) {
    control::Replay replay;
    std::ifstream file(path);
    std::string text{std::istreambuf_iterator<char>(file), {}}, fault;
    if (!text.ends_with('\n')) fault = "torn";
    std::istringstream lines(text);
    for (std::string line; fault.empty() && std::getline(lines, line);) {
      const auto same = replay.take(line);
      if (!same) fault = same.error().message;
      if (same && !*same) fault = replay.difference()->decided;
    }
    return {fault, replay.turns(), replay.end().value_or("")};
  }
  std::uint64_t bytes_in_folder() const {
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(dir_ + "/decisions"))
      bytes += entry.file_size();
    return bytes;
  }

  inline static const control::BrainOptions kBrain{.memory_bytes = 1000 * kMB};
  std::string dir_;
  std::unique_ptr<DecisionRecorder> recorder_;
  control::Brain brain_{kBrain};
  Time now_{1000s};
};

TEST_F(DecisionRecorderTest, TurnsOfARun_AreReplayedFromItsFile) {
  open();
  EXPECT_EQ(recorder_->path(), dir_ + "/decisions/2026-11-28T05-37-16.123Z.log");
  turns(1000);
  EXPECT_FALSE(recorder_->ended());
  EXPECT_EQ(fs::status(recorder_->path()).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(fs::status(dir_ + "/decisions").permissions(), fs::perms::owner_all);
  const Read read = close_and_replay();
  EXPECT_EQ(read.fault, "");
  EXPECT_EQ(read.turns, 1000u);
  EXPECT_EQ(read.end, "closed");
}

TEST_F(DecisionRecorderTest, FullFile_EndsWithAWholeTurnAndSaysSo) {
  open({.bytes_max = 40'000});
  turns(1000);
  EXPECT_TRUE(recorder_->ended());
  const Read read = close_and_replay();
  EXPECT_EQ(read.fault, "");
  EXPECT_GT(read.turns, 50u);
  EXPECT_LT(read.turns, 1000u);
  EXPECT_THAT(read.end, HasSubstr("full at 20"));
  EXPECT_LE(bytes_in_folder(), 20'000u);
}

TEST_F(DecisionRecorderTest, EarlierRuns_KeepHalfOfTheBytes_TheOldestGo) {
  const WallTime first(1'795'844'236'123ms);
  std::vector<std::string> paths;
  for (int run = 0; run < 6; ++run) {
    open({.bytes_max = 40'000, .now = first + run * 1h});
    paths.push_back(recorder_->path());
    turns(30);
    recorder_.reset();
    brain_ = control::Brain(kBrain);
    EXPECT_LE(bytes_in_folder(), 40'000u);
  }
  EXPECT_FALSE(fs::exists(paths.front()));
  EXPECT_TRUE(fs::exists(paths.at(4)));
  EXPECT_EQ(replayed(paths.at(4)).turns, 30u);
}

TEST_F(DecisionRecorderTest, FilesOfManyShortRuns_AreBoundedInNumber) {
  fs::create_directories(dir_ + "/decisions");
  for (int i = 0; i < 150; ++i)
    std::ofstream(dir_ + "/decisions/2020-01-01-" + std::to_string(1000 + i) + ".log") << "x";
  std::ofstream(dir_ + "/decisions/mine.txt") << "x";
  open();
  const auto files = std::distance(fs::directory_iterator(dir_ + "/decisions"), {});
  EXPECT_EQ(files, static_cast<std::ptrdiff_t>(kDecisionFilesMax) + 1);
  EXPECT_TRUE(fs::exists(dir_ + "/decisions/mine.txt"));
}

TEST_F(DecisionRecorderTest, DiskThatFillsUp_LeavesAWholeLogThatSaysSo) {
  std::atomic<std::size_t> room = 10'000;
  open({.write = [&room](int fd, const char* data, std::size_t size) -> ssize_t {
    const std::size_t part = std::min(size, room.load());
    if (part == 0) {
      room = 100;  // what the half line gives back
      errno = ENOSPC;
      return -1;
    }
    room -= part;
    return ::write(fd, data, part);
  }});
  turns(1000);
  const Read read = close_and_replay();
  EXPECT_EQ(read.fault, "");
  EXPECT_GT(read.turns, 10u);
  EXPECT_LT(read.turns, 1000u);
  EXPECT_EQ(read.end, "No space left on device");
}

TEST_F(DecisionRecorderTest, DiskThatFails_EndsTheLogAndNothingElse) {
  open({.write = [](int, const char*, std::size_t) -> ssize_t {
    errno = EIO;
    return -1;
  }});
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!recorder_->ended() && std::chrono::steady_clock::now() < deadline) turns(1);
  EXPECT_TRUE(recorder_->ended());
  turns(10);
  const std::string path = recorder_->path();
  recorder_.reset();
  EXPECT_EQ(fs::file_size(path), 0u);
}

TEST_F(DecisionRecorderTest, DiskThatHangs_KeepsNoTurnWaiting) {
  std::promise<void> hangs;
  const std::shared_future<void> until = hangs.get_future().share();
  open({.pending_bytes_max = 20'000, .write = [until](int fd, const char* data, std::size_t size) {
          until.wait();
          return ::write(fd, data, size);
        }});
  turns(1000);  // comes back
  EXPECT_TRUE(recorder_->ended());
  hangs.set_value();
  const Read read = close_and_replay();
  EXPECT_EQ(read.fault, "");
  EXPECT_GT(read.turns, 10u);
  EXPECT_EQ(read.end, "the disk is slower than turns come");
}

TEST_F(DecisionRecorderTest, FolderThatCannotBeMade_IsTold) {
  std::ofstream(dir_ + "/decisions") << "in the way";
  const auto opened = DecisionRecorder::open({.folder = dir_ + "/decisions", .bytes_max = kMB}, {});
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message, HasSubstr(dir_ + "/decisions"));
}

}  // namespace
}  // namespace glowplug::app
