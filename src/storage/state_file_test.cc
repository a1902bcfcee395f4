// The data folder, its lock and the file's schema: what StateFile::open takes and refuses.
#include "storage/state_file.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class StateFileTest : public StoreTest {
 protected:
  static Error error_of(const std::string& folder) {
    const Result<StateFile> opened = StateFile::open(folder);
    EXPECT_FALSE(opened) << folder;
    return opened ? Error{} : opened.error();
  }
};

TEST_F(StateFileTest, SecondServer_IsRefusedWithTheFirstOnesPid) {
  open();
  const Error error = error_of(data_);
  EXPECT_EQ(error.code, "storage_failed");
  EXPECT_THAT(error.message,
              HasSubstr("is in use by another server (pid " + std::to_string(::getpid()) + ")"));
  close();
  open();
}

TEST_F(StateFileTest, NewFolder_IsPrivate) {
  open();
  EXPECT_EQ(fs::status(data_).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(file()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(StateFileTest, FolderThatCannotBeWritten_IsNamedWithTheFix) {
  std::ofstream(root_ + "/file") << "x";
  for (const std::string& folder :
       {root_ + "/file/data", std::string("/proc/data"), std::string("/proc")}) {
    const Error error = error_of(folder);
    EXPECT_EQ(error.code, "storage_failed");
    EXPECT_THAT(error.message, HasSubstr("'" + folder + "'"));
    EXPECT_THAT(error.message, HasSubstr("--data-dir"));
  }
}

TEST_F(StateFileTest, NewerSchema_IsRefused) {
  open();
  close();
  execute("UPDATE schema_version SET version = 99");
  EXPECT_THAT(error_of(data_).message, HasSubstr("newer Glowplug (schema 99"));
}

TEST_F(StateFileTest, DamagedFile_IsNamed) {
  fs::create_directory(data_);
  std::ofstream(file()) << std::string(8192, 'x');
  const Error error = error_of(data_);
  EXPECT_EQ(error.code, "storage_failed");
  EXPECT_THAT(error.message, HasSubstr("'" + data_ + "/glowplug.db' is damaged"));
}

TEST_F(StateFileTest, DamagedPages_AreFoundAtOpening) {
  open();
  for (int revision = 1; revision < 40; ++revision)
    ASSERT_TRUE(store_->put("a", revision, std::string(3000, 'j')));
  close();
  std::fstream pages(file(), std::ios::in | std::ios::out | std::ios::binary);
  for (int page = 2; page < 20; ++page) {
    pages.seekp(page * 4096);
    pages << std::string(64, '\x7f');
  }
  pages.close();
  EXPECT_THAT(error_of(data_).message, HasSubstr("is damaged"));
}

// What has only to be looked through does not hold up a start; damage is found all the same.
TEST_F(StateFileTest, LargeFile_IsOpenedUncheckedAndCheckedByItsOwner) {
  open();
  for (int revision = 1; revision <= 9; ++revision)
    ASSERT_TRUE(store_->put("a", revision, std::string(4 << 20, 'j')));
  close();
  ASSERT_GT(fs::file_size(file()), kCheckedAtOpening);
  const auto look = [this] {
    Result<StateFile> opened = StateFile::open(data_);
    EXPECT_TRUE(opened && !opened->checked);
    auto reader = Database::open(file(), Database::Mode::ReadOnly);
    return find_damage(*reader, file());
  };
  const auto sound = look();
  EXPECT_TRUE(sound && !*sound);
  std::fstream pages(file(), std::ios::in | std::ios::out | std::ios::binary);
  pages.seekp(-4096 * 3, std::ios::end);
  pages << std::string(64, '\x7f');
  pages.close();
  const auto damage = look();
  ASSERT_TRUE(damage && *damage);
  EXPECT_THAT((*damage)->message, HasSubstr("is damaged"));
}

TEST_F(StateFileTest, EveryStepOfTheSchema_LeadsToTheTablesOfANewFile) {
  const auto tables = [this] {
    std::vector<std::string> list;
    open();
    EXPECT_TRUE(writer_->run([&list](Database& database) -> Result<void> {
      auto rows = database.prepare(
          "SELECT name || ': ' || coalesce(sql, '') FROM sqlite_master ORDER BY 1");
      if (!rows) return rows.error();
      while (*rows->step()) list.push_back(rows->text(0));
      return {};
    }));
    close();
    return list;
  };
  const std::vector<std::string> fresh = tables();
  execute(kWithoutQueue);
  EXPECT_EQ(tables(), fresh);
  EXPECT_EQ(fresh.size(), 27U);
}

TEST_F(StateFileTest, StepThatFails_LeavesTheFileAsItWas) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  close();
  execute(kWithoutQueue);
  execute("CREATE TABLE batches (x)");  // in the way of the fifth step
  EXPECT_EQ(error_of(data_).code, "storage_failed");
  execute("DROP TABLE batches");
  open();
  EXPECT_EQ(store_->load()->size(), 1U);
}

// The lock file's owner may write to it; somebody else's hold is a refusal, not a hang.
TEST_F(StateFileTest, HeldByAnotherProgram_RefusesWritesUntilItLetsGo) {
  options_.busy_wait = std::chrono::milliseconds(1);
  open();
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(file().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  const Result<void> put = store_->put("a", 1, "{}");
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, "storage_failed");
  EXPECT_THAT(put.error().message, HasSubstr("is held by another program"));
  sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  EXPECT_TRUE(store_->put("a", 1, "{}"));
  EXPECT_EQ(writer_->counts().reopened, 0U);
}

TEST_F(StateFileTest, FullDisk_RefusesThePutAndKeepsTheRest) {
  fs::create_directory(data_);
  if (::mount("tmpfs", data_.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "a tmpfs cannot be mounted here";
  open();
  ASSERT_TRUE(store_->put("small", 1, "{}"));
  const Result<void> put = store_->put("big", 1, std::string(4 << 20, 'x'));
  EXPECT_EQ(put ? "" : put.error().code, "disk_full");
  EXPECT_EQ(store_->load()->size(), 1U);
  EXPECT_TRUE(store_->put("small", 2, "{}"));
  EXPECT_EQ(writer_->counts().reopened, 0U);
  close();
  EXPECT_EQ(::umount(data_.c_str()), 0);
}

}  // namespace
}  // namespace glowplug::storage
