#include "storage/function_store.h"

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

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class FunctionStoreTest : public StoreTest {
 protected:
  static Error error_of(const std::string& folder) {
    const Result<std::unique_ptr<FunctionStore>> opened = FunctionStore::open(folder);
    EXPECT_FALSE(opened) << folder;
    return opened ? Error{} : opened.error();
  }
};

StoredFunction row(std::string name, int revision, std::string json, bool deleted = false) {
  return StoredFunction{std::move(name), revision, std::move(json), deleted};
}

TEST_F(FunctionStoreTest, TunedIsKeptWithItsRevision_AndTheNextHasNone) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  ASSERT_TRUE(store_->set_tuned("a", 1, "measured"));
  ASSERT_TRUE(store_->set_tuned("nobody", 1, "measured"));
  open();
  EXPECT_EQ(store_->load()->at(0).tuned_json, "measured");
  ASSERT_TRUE(store_->put("a", 2, "{}"));
  EXPECT_EQ(store_->load()->at(0).tuned_json, "");
  EXPECT_EQ(store_->revisions("a")->at(0).tuned_json, "measured");
}

TEST_F(FunctionStoreTest, FolderOfTheFirstSchema_IsTakenOver) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  store_.reset();
  execute(
      "ALTER TABLE revisions DROP COLUMN tuned; DROP TABLE servings; DROP TABLE checkpoints;"
      "DROP TABLE learned_memory;"
      "UPDATE schema_version SET version = 1");
  open();
  EXPECT_THAT(*store_->load(), ElementsAre(row("a", 1, "{}")));
  EXPECT_TRUE(store_->set_tuned("a", 1, "measured"));
}

TEST_F(FunctionStoreTest, Functions_SurviveReopening) {
  open();
  ASSERT_TRUE(store_->put("b", 1, R"({"v":1})"));
  ASSERT_TRUE(store_->put("b", 2, R"({"v":2})"));
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  open();
  EXPECT_THAT(*store_->load(), ElementsAre(row("a", 1, "{}"), row("b", 2, R"({"v":2})")));
  EXPECT_THAT(*store_->revisions("b"),
              ElementsAre(row("b", 1, R"({"v":1})"), row("b", 2, R"({"v":2})")));
  EXPECT_EQ(*store_->next_revision("b"), 3);
  EXPECT_EQ(*store_->next_revision("new"), 1);
}

TEST_F(FunctionStoreTest, PutWithoutClosing_IsOnTheDiskAlready) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "{}"));
  fs::copy(data_, root_ + "/copy",
           fs::copy_options::recursive);  // what a killed server would leave
  Result<std::unique_ptr<FunctionStore>> copy = FunctionStore::open(root_ + "/copy");
  ASSERT_TRUE(copy);
  EXPECT_THAT(*(*copy)->load(), ElementsAre(row("a", 1, "{}")));
}

TEST_F(FunctionStoreTest, DeletedFunction_KeepsItsNumbers) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "one"));
  ASSERT_TRUE(store_->remove("a"));
  ASSERT_TRUE(store_->remove("never"));
  EXPECT_TRUE(store_->load()->empty());
  EXPECT_THAT(*store_->revisions("a"), ElementsAre(row("a", 1, "one", true)));
  EXPECT_EQ(*store_->next_revision("a"), 2);
  ASSERT_TRUE(store_->put("a", 2, "two"));
  EXPECT_THAT(*store_->load(), ElementsAre(row("a", 2, "two")));
}

TEST_F(FunctionStoreTest, UsedRevision_IsRefusedAndNothingChanges) {
  open();
  ASSERT_TRUE(store_->put("a", 2, "two"));
  const Result<void> again = store_->put("a", 2, "other");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, "revision_conflict");
  EXPECT_THAT(*store_->load(), ElementsAre(row("a", 2, "two")));
}

TEST_F(FunctionStoreTest, OddNamesAndTexts_AreKeptAsTheyAre) {
  open();
  const std::string json =
      "{\"x\":\"';DROP TABLE functions;-- \xE2\x82\xAC" + std::string(100'000, 'y') + "\"}";
  ASSERT_TRUE(store_->put("a';--", 1, json));
  open();
  EXPECT_THAT(*store_->load(), ElementsAre(row("a';--", 1, json)));
}

TEST_F(FunctionStoreTest, SecondServer_IsRefusedWithTheFirstOnesPid) {
  open();
  const Error error = error_of(data_);
  EXPECT_EQ(error.code, "storage_failed");
  EXPECT_THAT(error.message,
              HasSubstr("is in use by another server (pid " + std::to_string(::getpid()) + ")"));
  store_.reset();
  open();
}

TEST_F(FunctionStoreTest, NewFolder_IsPrivate) {
  open();
  EXPECT_EQ(fs::status(data_).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(data_ + "/glowplug.db").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(FunctionStoreTest, FolderThatCannotBeWritten_IsNamedWithTheFix) {
  std::ofstream(root_ + "/file") << "x";
  for (const std::string& folder :
       {root_ + "/file/data", std::string("/proc/data"), std::string("/proc")}) {
    const Error error = error_of(folder);
    EXPECT_EQ(error.code, "storage_failed");
    EXPECT_THAT(error.message, HasSubstr("'" + folder + "'"));
    EXPECT_THAT(error.message, HasSubstr("--data-dir"));
  }
}

TEST_F(FunctionStoreTest, NewerSchema_IsRefused) {
  open();
  store_.reset();
  execute("UPDATE schema_version SET version = 99");
  EXPECT_THAT(error_of(data_).message, HasSubstr("newer Glowplug (schema 99"));
}

TEST_F(FunctionStoreTest, DamagedFile_IsNamed) {
  fs::create_directory(data_);
  std::ofstream(data_ + "/glowplug.db") << std::string(8192, 'x');
  const Error error = error_of(data_);
  EXPECT_EQ(error.code, "storage_failed");
  EXPECT_THAT(error.message, HasSubstr("'" + data_ + "/glowplug.db' is damaged"));
}

TEST_F(FunctionStoreTest, DamagedPages_AreFoundAtOpening) {
  open();
  for (int revision = 1; revision < 40; ++revision)
    ASSERT_TRUE(store_->put("a", revision, std::string(3000, 'j')));
  store_.reset();
  std::fstream file(data_ + "/glowplug.db", std::ios::in | std::ios::out | std::ios::binary);
  for (int page = 2; page < 20; ++page) {
    file.seekp(page * 4096);
    file << std::string(64, '\x7f');
  }
  file.close();
  EXPECT_THAT(error_of(data_).message, HasSubstr("is damaged"));
}

TEST_F(FunctionStoreTest, FullDisk_RefusesThePutAndKeepsTheRest) {
  fs::create_directory(data_);
  if (::mount("tmpfs", data_.c_str(), "tmpfs", 0, "size=256k") != 0)
    GTEST_SKIP() << "a tmpfs cannot be mounted here";
  open();
  ASSERT_TRUE(store_->put("small", 1, "{}"));
  const Result<void> put = store_->put("big", 1, std::string(1024 * 1024, 'x'));
  EXPECT_EQ(put ? "" : put.error().code, "disk_full");
  EXPECT_THAT(*store_->load(), ElementsAre(row("small", 1, "{}")));
  EXPECT_TRUE(store_->put("small", 2, "{}"));
  store_.reset();
  EXPECT_EQ(::umount(data_.c_str()), 0);
}

}  // namespace
}  // namespace glowplug::storage
