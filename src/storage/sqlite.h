// A thin owner of one SQLite connection and its statements; every failure becomes a Result that
// names the file.
//
// Thread: one owner, no sharing (the connection is opened without SQLite's own mutexes). Knows no
// table.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace glowplug::storage {

// One prepared statement with its values bound; stepped once to the end or until the caller stops.
class Statement final {
 public:
  Statement(sqlite3_stmt* statement, std::string file);

  Statement& bind(std::string_view text);
  Statement& bind(std::int64_t number);

  Result<bool> step();    // true: a row is there; false: done
  Result<void> finish();  // steps to the end, for statements without rows

  std::int64_t number(int column) const;
  std::string text(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  std::string file_;
  int bound_ = 0;
  int bind_code_ = 0;
};

class Database final {
 public:
  static Result<Database> open(const std::string& file);

  Result<void> execute(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  explicit Database(sqlite3* database, std::string file);
  std::unique_ptr<sqlite3, Close> database_;
  std::string file_;
};

// BEGIN IMMEDIATE … COMMIT; rolls back unless commit() succeeded.
class Transaction final {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;  // null once committed or moved from
};

}  // namespace glowplug::storage
