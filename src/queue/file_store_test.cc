#include <gmock/gmock.h>
#include <sys/stat.h>

#include "queue/test_batches.h"

namespace glowplug::queue {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class FileStoreTest : public BatchTest {
 protected:
  Result<void> remove(const std::string& id) {
    std::optional<Result<void>> removed;
    files_->remove(id, [&](Result<void> result) { removed = std::move(result); });
    EXPECT_TRUE(loop_.run_until([&] { return removed.has_value(); }));
    return *removed;
  }
  // All that was posted to the disk thread before is done.
  void settle_disk() {
    bool done = false;
    disk_->post([] {}, [&done] { done = true; });
    EXPECT_TRUE(loop_.run_until([&done] { return done; }));
  }
};

TEST_F(FileStoreTest, KeptFile_IsThereAfterARestart) {
  const auto kept = upload("hello\n", {"../a name", "batch", 3h});
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->bytes, 6U);
  EXPECT_EQ(kept->id.size(), 29U);
  restart();
  const auto found = files_->find(kept->id);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "../a name");
  EXPECT_EQ(found->digest, kept->digest);
  EXPECT_EQ(*found->expires - found->created, 3h);
  EXPECT_EQ(content(kept->id), "hello\n");
  EXPECT_EQ(files_->bytes(), 6U);
  struct stat status {};
  ASSERT_EQ(::stat(files_->hold(*found)->c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(FileStoreTest, SameBytes_AreSharedAndGoWithTheLast) {
  const auto first = upload("same");
  const auto second = upload("same");
  EXPECT_NE(first->id, second->id);
  EXPECT_EQ(contents(), 1U);
  ASSERT_TRUE(remove(first->id));
  settle_disk();
  EXPECT_EQ(content(second->id), "same");
  ASSERT_TRUE(remove(second->id));
  settle_disk();
  EXPECT_EQ(contents(), 0U);
  EXPECT_EQ(files_->bytes(), 0U);
  EXPECT_EQ(remove(second->id).error().code, "not_found");
}

TEST_F(FileStoreTest, HeldBytes_OutliveTheirFile) {
  const auto file = upload("held");
  auto hold = files_->hold(*file);
  ASSERT_TRUE(remove(file->id));
  settle_disk();
  std::optional<Result<std::string>> piece;
  files_->read(hold, 1, 2, [&](Result<std::string> read) { piece = std::move(read); });
  ASSERT_TRUE(loop_.run_until([&] { return piece.has_value(); }));
  EXPECT_EQ(**piece, "el");
  EXPECT_FALSE(files_->find(file->id));
  hold.reset();
  files_->sweep();
  EXPECT_TRUE(loop_.run_until([&] { return !files_->find_any(file->id); }));
  settle_disk();
  EXPECT_EQ(contents(), 0U);
}

TEST_F(FileStoreTest, GivenUpDraft_LeavesNothing) {
  std::optional<FileStore::Draft> draft;
  files_->begin(FileOrigin::Uploaded, [&](Result<FileStore::Draft> begun) { draft = *begun; });
  ASSERT_TRUE(loop_.run_until([&] { return draft.has_value(); }));
  bool written = false;
  files_->append(*draft, "half", [&](Result<void> result) { written = result.ok(); });
  ASSERT_TRUE(loop_.run_until([&] { return written; }));
  EXPECT_EQ(contents(), 1U);
  EXPECT_EQ(files_->bytes(), 4U);
  draft.reset();
  EXPECT_EQ(contents(), 0U);
  EXPECT_EQ(files_->bytes(), 0U);
}

TEST_F(FileStoreTest, WhatAKilledServerLeft_IsRemoved) {
  const auto kept = upload("kept");
  std::ofstream(folder_ + "/incoming.0123.tmp") << "half";
  std::ofstream(folder_ + "/sha256-" + std::string(64, 'a')) << "no row";
  restart();
  EXPECT_EQ(contents(), 1U);
  EXPECT_EQ(content(kept->id), "kept");
}

TEST_F(FileStoreTest, FullBudget_RefusesUploadsAndTakesResults) {
  bytes_max_ = 10;
  restart();
  const auto refused = upload("12345678901");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "no_file_space");
  EXPECT_EQ(contents(), 0U);
  ASSERT_TRUE(upload("1234567890"));
  EXPECT_EQ(upload("x").error().code, "no_file_space");
  std::optional<FileStore::Draft> draft;
  files_->begin(FileOrigin::Made, [&](Result<FileStore::Draft> begun) { draft = *begun; });
  ASSERT_TRUE(loop_.run_until([&] { return draft.has_value(); }));
  EXPECT_TRUE((*draft)->write("a result is kept all the same"));
}

TEST_F(FileStoreTest, ExpiredFiles_AreSwept) {
  const auto hour = upload("hour", {"a", "batch", 1h});
  const auto ever = upload("ever");
  clock_.advance(59min);
  files_->sweep();
  settle_disk();
  EXPECT_TRUE(files_->find(hour->id));
  clock_.advance(1min);
  files_->sweep();
  EXPECT_TRUE(loop_.run_until([&] { return !files_->find(hour->id); }));
  settle_disk();
  EXPECT_TRUE(files_->find(ever->id));
  EXPECT_EQ(contents(), 1U);
}

TEST_F(FileStoreTest, FolderThatCannotBeWritten_IsAnErrorWithoutALeftover) {
  std::filesystem::remove_all(folder_);
  const auto refused = upload("x");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "storage_failed");
  EXPECT_THAT(refused.error().message, HasSubstr("No such file"));
}

}  // namespace
}  // namespace glowplug::queue
