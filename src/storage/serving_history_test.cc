// What serves and what served before, through the store that keeps it.
#include "storage/serving_history.h"

#include <gmock/gmock.h>

#include "domain/limits.h"
#include "storage/test_store.h"

namespace glowplug::storage {
namespace {

using ::testing::ElementsAre;

using ServingTest = StoreTest;

// A database as the first schema wrote it.
constexpr const char* kFirstSchema =
    "PRAGMA journal_mode=WAL;"
    "BEGIN;"
    "CREATE TABLE schema_version (version INTEGER NOT NULL);"
    "INSERT INTO schema_version VALUES(1);"
    "CREATE TABLE revisions (name TEXT NOT NULL, revision INTEGER NOT NULL, manifest TEXT NOT NULL,"
    "  PRIMARY KEY (name, revision)) WITHOUT ROWID;"
    "INSERT INTO revisions VALUES('chat',1,'{\"v\":1}');"
    "INSERT INTO revisions VALUES('chat',2,'{\"v\":2}');"
    "INSERT INTO revisions VALUES('gone',1,'{}');"
    "CREATE TABLE functions (name TEXT PRIMARY KEY NOT NULL, current INTEGER NOT NULL,"
    "  deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "INSERT INTO functions VALUES('chat',2,0);"
    "INSERT INTO functions VALUES('gone',1,1);"
    "COMMIT;";

TEST_F(ServingTest, FolderOfTheFirstSchema_OpensAndServesWhatItServed) {
  execute(kFirstSchema);
  open();
  EXPECT_THAT(*store_->load(), ElementsAre(StoredFunction{"chat", 2, "{\"v\":2}", false}));
  EXPECT_EQ(*store_->serving("chat"), (Split{{2, 100}}));
  EXPECT_TRUE(store_->serving("gone")->empty());
  EXPECT_FALSE(*store_->step_back("chat"));  // what served before is not known
  ASSERT_TRUE(store_->put("chat", 3, "{\"v\":3}"));
  open();  // migrated once
  EXPECT_EQ(*store_->serving("chat"), (Split{{3, 100}}));
  EXPECT_EQ(**store_->step_back("chat"), (Split{{2, 100}}));
}

// And one of the schema before what serves was kept.
TEST_F(ServingTest, FolderOfTheSecondSchema_OpensWithWhatWasMeasured) {
  execute(kFirstSchema);
  execute(
      "ALTER TABLE revisions ADD COLUMN tuned TEXT NOT NULL DEFAULT '';"
      "UPDATE revisions SET tuned = 'measured' WHERE name = 'chat' AND revision = 1;"
      "UPDATE schema_version SET version = 2");
  open();
  EXPECT_EQ(*store_->serving("chat"), (Split{{2, 100}}));
  EXPECT_EQ((*store_->find("chat", 1))->tuned_json, "measured");
  ASSERT_TRUE(store_->serve("chat", {{1, 100}}));
  EXPECT_EQ(store_->load()->at(0).tuned_json, "measured");
}

TEST_F(ServingTest, SplitsAndRollbacks_SurviveReopening) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "one"));
  ASSERT_TRUE(store_->put("a", 2, "two"));
  ASSERT_TRUE(store_->serve("a", {{1, 10}, {2, 90}}));
  open();
  EXPECT_EQ(*store_->serving("a"), (Split{{2, 90}, {1, 10}}));
  EXPECT_THAT(*store_->load(), ElementsAre(StoredFunction{"a", 2, "two", false}));
  EXPECT_EQ(**store_->step_back("a"), (Split{{2, 100}}));
  EXPECT_EQ(**store_->step_back("a"), (Split{{1, 100}}));
  open();
  EXPECT_EQ(*store_->serving("a"), (Split{{1, 100}}));
  EXPECT_THAT(*store_->load(), ElementsAre(StoredFunction{"a", 1, "one", false}));
  EXPECT_FALSE(*store_->step_back("a"));
  EXPECT_EQ(*store_->serving("a"), (Split{{1, 100}}));
}

TEST_F(ServingTest, PutAfterARollback_GoesOnTopOfIt) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "one"));
  ASSERT_TRUE(store_->put("a", 2, "two"));
  ASSERT_TRUE(*store_->step_back("a"));
  EXPECT_EQ(*store_->next_revision("a"), 3);
  ASSERT_TRUE(store_->put("a", 3, "three"));
  EXPECT_EQ(**store_->step_back("a"), (Split{{1, 100}}));
}

TEST_F(ServingTest, History_KeepsTheLastHundred) {
  open();
  for (int revision = 1; revision <= domain::kServingsKept + 20; ++revision)
    ASSERT_TRUE(store_->put("a", revision, "{}"));
  int back = 0;
  while (const std::optional<Split> before = *store_->step_back("a")) ++back;
  EXPECT_EQ(back, domain::kServingsKept - 1);
  EXPECT_EQ(*store_->serving("a"), (Split{{21, 100}}));
}

TEST_F(ServingTest, RemovedFunction_HasNoHistoryWhenItIsBack) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "one"));
  ASSERT_TRUE(store_->remove("a"));
  EXPECT_TRUE(store_->serving("a")->empty());
  ASSERT_TRUE(store_->put("a", 2, "two"));
  EXPECT_FALSE(*store_->step_back("a"));
}

TEST_F(ServingTest, RevisionOfAFunction_IsFoundOrIsNot) {
  open();
  ASSERT_TRUE(store_->put("a", 1, "one"));
  ASSERT_TRUE(store_->put("a", 2, "two"));
  EXPECT_EQ((*store_->find("a", 1))->manifest_json, "one");
  EXPECT_EQ(*store_->find("a", 3), std::nullopt);
  EXPECT_EQ(*store_->find("b", 1), std::nullopt);
}

}  // namespace
}  // namespace glowplug::storage
