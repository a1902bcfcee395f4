// Many writes, one transaction: order, isolation, bounds, what is told and when.
#include "storage/write_loop.h"

#include <fcntl.h>
#include <filesystem>
#include <future>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/mount.h>

#include "base/unique_fd.h"
#include "storage/ballast.h"
#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class WriteLoopTest : public StoreTest {
 protected:
  void open_with_table() {
    open();
    ASSERT_TRUE(writer_->run([](Database& database) {
      return database.execute("CREATE TABLE t (n INTEGER UNIQUE, bytes)");
    }));
  }
  static WriteLoop::Work insert(std::int64_t n, std::size_t bytes = 1) {
    return [n, bytes](Database& database) -> Result<void> {
      auto add = database.prepare("INSERT INTO t (n, bytes) VALUES (?, ?)");
      if (!add) return add.error();
      return add->bind(n).bind_blob(std::string(bytes, 'x')).finish();
    };
  }
  WriteLoop::Done hear(int n) {
    return [this, n](const Result<void>& outcome) {
      heard_.push_back(fmt::format("{}{}", n, outcome ? "" : " " + outcome.error().code));
    };
  }
  bool drain(std::size_t count) {
    return inbox_.drain_until([this, count] { return heard_.size() >= count; });
  }
  std::int64_t rows() {
    return writer_
        ->ask([](Database& database) -> Result<std::int64_t> {
          auto count = database.prepare("SELECT count(*) FROM t");
          if (!count) return count.error();
          if (auto row = count->step(); !row) return row.error();
          return count->number(0);
        })
        .value();
  }
  // The writer stands in the middle of a commit from here to let_go().
  void hold() {
    const auto entered = std::make_shared<std::promise<void>>();
    writer_->post(
        [entered, held = held_.get_future().share()](Database&) -> Result<void> {
          entered->set_value();
          held.wait();
          return {};
        },
        {}, Need::Must);
    entered->get_future().wait();
  }
  void let_go() { std::exchange(held_, {}).set_value(); }

  std::promise<void> held_;
  std::vector<std::string> heard_;
};

TEST_F(WriteLoopTest, Told_IsOnTheDiskOfAKilledServer) {
  open_with_table();
  writer_->post(insert(1), hear(1));
  ASSERT_TRUE(drain(1));
  fs::copy(data_, root_ + "/copy", fs::copy_options::recursive);
  close();
  data_ = root_ + "/copy";
  open();
  EXPECT_EQ(rows(), 1);
}

TEST_F(WriteLoopTest, PostedWhileACommitRuns_AreOneCommitAndToldInOrder) {
  open_with_table();
  hold();
  const WriteCounts before = writer_->counts();
  for (int n = 1; n <= 100; ++n) writer_->post(insert(n), hear(n));
  EXPECT_TRUE(heard_.empty());
  let_go();
  ASSERT_TRUE(drain(100));
  for (int n = 1; n <= 100; ++n)
    EXPECT_EQ(heard_[static_cast<std::size_t>(n - 1)], std::to_string(n));
  const WriteCounts after = writer_->counts();
  EXPECT_EQ(after.commits - before.commits, 1U);  // what held the writer changed nothing
  EXPECT_EQ(after.syncs - before.syncs, 1U);
  EXPECT_EQ(after.writes - before.writes, 101U);
}

TEST_F(WriteLoopTest, MoreThanOneCommitTakes_GoIntoTheNext) {
  open_with_table();
  hold();
  const WriteCounts before = writer_->counts();
  for (int n = 0; n <= static_cast<int>(kWritesPerCommit); ++n) writer_->post(insert(n), hear(n));
  let_go();
  ASSERT_TRUE(drain(kWritesPerCommit + 1));
  EXPECT_EQ(writer_->counts().commits - before.commits, 2U);
}

TEST_F(WriteLoopTest, WorkThatFails_TakesNothingElseWithIt) {
  open_with_table();
  hold();
  writer_->post(insert(1), hear(1));
  writer_->post(
      [](Database& database) -> Result<void> {
        if (auto half = insert(2)(database); !half) return half;
        return Error{"not_found", "half of it is done", {}};
      },
      hear(2));
  writer_->post(insert(1), hear(3));  // breaks the constraint
  writer_->post(insert(4), hear(4));
  let_go();
  ASSERT_TRUE(drain(4));
  EXPECT_THAT(heard_, ElementsAre("1", "2 not_found", "3 storage_failed", "4"));
  EXPECT_EQ(rows(), 2);
  EXPECT_EQ(writer_->counts().failed, 2U);
  EXPECT_EQ(writer_->counts().reopened, 0U);
}

TEST_F(WriteLoopTest, WaitedFor_HasTheValueOrTheError) {
  open_with_table();
  EXPECT_EQ(*writer_->ask([](Database&) -> Result<int> { return 7; }), 7);
  const auto refused = writer_->ask([](Database&) -> Result<int> {
    return Error{"not_found", "", ""};
  });
  EXPECT_EQ(refused.error().code, "not_found");
}

TEST_F(WriteLoopTest, TooManyWaiting_RefusesWhatMayBe) {
  open_with_table();
  hold();
  for (std::size_t n = 0; n < kWritesWaitingMax; ++n)
    writer_->post([](Database&) { return Result<void>(); }, {});
  writer_->post(insert(1), hear(1));
  ASSERT_TRUE(drain(1));  // at once
  EXPECT_THAT(heard_, ElementsAre("1 server_is_overloaded"));
  EXPECT_EQ(writer_->counts().refused, 1U);
  writer_->post(insert(2), hear(2), Need::Must);
  let_go();
  ASSERT_TRUE(drain(2));
  EXPECT_EQ(heard_.back(), "2");
}

TEST_F(WriteLoopTest, SlowDisk_RefusesOnceTheOldestHasWaitedTooLong) {
  ManualClock clock;
  options_.clock = &clock;
  open_with_table();
  hold();
  writer_->post(insert(1), hear(1));
  clock.advance(kWriteWaitMax);
  writer_->post(insert(2), hear(2));
  clock.advance(std::chrono::milliseconds(1));
  writer_->post(insert(3), hear(3));
  writer_->post(insert(4), hear(4), Need::Must);
  let_go();
  ASSERT_TRUE(drain(4));
  EXPECT_THAT(heard_, ElementsAre("3 server_is_overloaded", "1", "2", "4"));
}

TEST_F(WriteLoopTest, Destroyed_WritesWhatWasPosted) {
  open_with_table();
  hold();
  for (int n = 1; n <= 600; ++n) writer_->post(insert(n), {});
  std::thread ends([this] { close(); });
  let_go();
  ends.join();
  open();
  EXPECT_EQ(rows(), 600);
}

TEST_F(WriteLoopTest, FullDisk_ShedsWhatMayBeAndWritesTheRestFromTheBallast_UntilThereIsRoom) {
  fs::create_directory(data_);
  if (::mount("tmpfs", data_.c_str(), "tmpfs", 0, "size=8m") != 0)
    GTEST_SKIP() << "a tmpfs cannot be mounted here";
  options_.ballast_bytes = kBallastBytes;  // more than a sixteenth of it
  open_with_table();
  EXPECT_EQ(fs::file_size(file() + ".ballast"), (8U << 20) / 16);
  {
    const UniqueFd filler(::open((data_ + "/filler").c_str(), O_WRONLY | O_CREAT, 0600));
    const auto room = static_cast<off_t>(fs::space(data_).available);
    ASSERT_EQ(::fallocate(filler.get(), 0, 0, room), 0);
  }
  writer_->post(insert(1, 200'000), hear(1));
  ASSERT_TRUE(drain(1));
  writer_->post(insert(2, 10), hear(2));  // however small
  ASSERT_TRUE(drain(2));
  EXPECT_TRUE(writer_->run(insert(3, 100'000)));
  EXPECT_TRUE(writer_->counts().disk_full);
  EXPECT_FALSE(fs::exists(file() + ".ballast"));
  fs::remove(data_ + "/filler");
  EXPECT_TRUE(writer_->run(insert(4, 10)));
  EXPECT_FALSE(writer_->counts().disk_full);
  EXPECT_TRUE(fs::exists(file() + ".ballast"));
  writer_->post(insert(5, 200'000), hear(5));
  ASSERT_TRUE(drain(3));
  EXPECT_THAT(heard_, ElementsAre("1 disk_full", "2 disk_full", "5"));
  EXPECT_EQ(rows(), 3);
  EXPECT_EQ(writer_->counts().reopened, 0U);
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("is full"), HasSubstr("is room")));
  close();
  EXPECT_EQ(::umount(data_.c_str()), 0);
}

// What fits is written; the one that does not fit even into the ballast's room is told so.
TEST_F(WriteLoopTest, FullDisk_OneThatIsTooLargeTakesNoOtherWithIt) {
  fs::create_directory(data_);
  if (::mount("tmpfs", data_.c_str(), "tmpfs", 0, "size=4m") != 0)
    GTEST_SKIP() << "a tmpfs cannot be mounted here";
  options_.ballast_bytes = kBallastBytes;
  open_with_table();
  hold();
  writer_->post(insert(1), hear(1), Need::Must);
  writer_->post(insert(2, 16 << 20), hear(2), Need::Must);
  writer_->post(insert(3), hear(3), Need::Must);
  let_go();
  ASSERT_TRUE(drain(3));
  EXPECT_THAT(heard_, ElementsAre("1", "2 disk_full", "3"));
  EXPECT_EQ(rows(), 2);
  close();
  EXPECT_EQ(::umount(data_.c_str()), 0);
}

}  // namespace
}  // namespace glowplug::storage
