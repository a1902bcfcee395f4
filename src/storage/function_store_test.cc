#include "storage/function_store.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;
namespace fs = std::filesystem;

using FunctionStoreTest = StoreTest;

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
  close();
  execute(kWithoutQueue);
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
  close();
  data_ = root_ + "/copy";
  open();
  EXPECT_THAT(*store_->load(), ElementsAre(row("a", 1, "{}")));
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

}  // namespace
}  // namespace glowplug::storage
