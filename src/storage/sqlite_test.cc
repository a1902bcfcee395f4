#include "storage/sqlite.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "storage/test_root.h"

namespace glowplug::storage {
namespace {

class SqliteTest : public ::testing::Test {
 protected:
  SqliteTest() { EXPECT_TRUE(database_.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")); }
  ~SqliteTest() override {
    database_ = Database();
    std::filesystem::remove_all(root_);
  }
  void run(std::string_view sql, std::string_view text) {
    Result<Statement> statement = database_.prepare(sql);
    ASSERT_TRUE(statement) << statement.error().message;
    ASSERT_TRUE(statement->bind(text).finish());
  }

  const std::string root_ = make_test_root(), file_ = root_ + "/x.db";
  Database database_ = Database::open(file_).value();
};

TEST_F(SqliteTest, BytesAndNothing_ComeBackAsTheyAre) {
  const std::string bytes("a\0b\xff", 4);
  {
    auto add = database_.prepare("INSERT INTO t (a, b) VALUES (?, ?)");
    ASSERT_TRUE(add);
    ASSERT_TRUE(add->bind_blob(bytes).bind_null().finish());
  }
  EXPECT_EQ(database_.last_insert_id(), 1);
  {
    auto add = database_.prepare("INSERT INTO t (a, b) VALUES (?, ?)");
    ASSERT_TRUE(add);
    ASSERT_TRUE(add->bind_blob({}).bind({}).finish());
  }
  auto rows = database_.prepare("SELECT a, b FROM t ORDER BY id");
  ASSERT_TRUE(rows);
  ASSERT_TRUE(*rows->step());
  EXPECT_EQ(rows->text(0), bytes);
  EXPECT_FALSE(rows->is_null(0));
  EXPECT_TRUE(rows->is_null(1));
  ASSERT_TRUE(*rows->step());
  EXPECT_EQ(rows->text(0), "");
  EXPECT_FALSE(rows->is_null(0));  // empty is something
  EXPECT_FALSE(rows->is_null(1));
}

TEST_F(SqliteTest, StatementUsedAgain_KnowsNothingOfItsLastUse) {
  const std::string_view sql = "INSERT INTO t (a, b) VALUES (?1, ?2)";
  {
    auto add = database_.prepare(sql);
    ASSERT_TRUE(add);
    ASSERT_TRUE(add->bind("x").bind("y").finish());
  }
  run(sql, "z");  // the second value is not the last use's
  EXPECT_EQ(database_.changes(), 1);
  auto rows = database_.prepare("SELECT count(*) FROM t WHERE b IS NULL");
  ASSERT_TRUE(rows);
  ASSERT_TRUE(*rows->step());
  EXPECT_EQ(rows->number(0), 1);
}

TEST_F(SqliteTest, StatementInUse_CanBePreparedBesideItself) {
  const std::string_view add = "INSERT INTO t (a) VALUES (?)", all = "SELECT a FROM t ORDER BY id";
  run(add, "1");
  run(add, "2");
  std::string seen;
  auto outer = database_.prepare(all);
  ASSERT_TRUE(outer);
  while (*outer->step()) {
    auto inner = database_.prepare(all);
    ASSERT_TRUE(inner);
    while (*inner->step()) seen += outer->text(0) + inner->text(0) + " ";
  }
  EXPECT_EQ(seen, "11 12 21 22 ");
}

TEST_F(SqliteTest, StatementLeftHalfRead_HoldsNothingUp) {
  run("INSERT INTO t (a) VALUES (?)", "1");
  {
    auto rows = database_.prepare("SELECT a FROM t");
    ASSERT_TRUE(rows);
    ASSERT_TRUE(*rows->step());
  }
  EXPECT_TRUE(database_.execute("DROP TABLE t"));
}

TEST_F(SqliteTest, FaultsAreOfTheDiskOrTheFile_NotOfAStatement) {
  EXPECT_FALSE(database_.prepare("SELECT nothing FROM nowhere"));
  EXPECT_FALSE(database_.execute("INSERT INTO t (id) VALUES ('text')"));
  EXPECT_EQ(database_.fault(), Fault::None);
  ASSERT_TRUE(database_.execute("PRAGMA max_page_count=4"));
  auto add = database_.prepare("INSERT INTO t (a) VALUES (?)");
  ASSERT_TRUE(add);
  const Result<void> added = add->bind(std::string(100'000, 'x')).finish();
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, "disk_full");
  EXPECT_EQ(added.error().message.find(root_), std::string::npos) << added.error().message;
  EXPECT_EQ(database_.fault(), Fault::Full);
  database_.clear_fault();
  EXPECT_EQ(database_.fault(), Fault::None);
}

TEST_F(SqliteTest, ReadOnly_ReadsAndRefusesToWrite) {
  Result<Database> reader = Database::open(file_, Database::Mode::ReadOnly);
  ASSERT_TRUE(reader);
  EXPECT_FALSE(reader->execute("INSERT INTO t (a) VALUES (1)"));
  EXPECT_TRUE(reader->prepare("SELECT a FROM t"));
  EXPECT_FALSE(Database::open(root_ + "/none.db", Database::Mode::ReadOnly));
}

TEST_F(SqliteTest, Closed_RefusesEverything) {
  Database closed;
  EXPECT_FALSE(closed.execute("SELECT 1"));
  EXPECT_FALSE(closed.prepare("SELECT 1"));
  EXPECT_FALSE(closed.checkpoint(Database::Checkpoint::Passive));
  EXPECT_EQ(closed.fault(), Fault::Broken);
  EXPECT_FALSE(closed.in_transaction());
}

}  // namespace
}  // namespace glowplug::storage
