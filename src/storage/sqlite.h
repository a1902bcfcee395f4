// A thin owner of one SQLite connection and its statements; every failure becomes a Result that
// names the file.
//
// Prepared statements are kept by their text and used again, so that a hot one is compiled once: do
// not build its text out of values. A Statement ends before its Database does.
//
// Thread: one owner, no sharing (the connection is opened without SQLite's own mutexes); only
// interrupt() may be called from another thread. Knows no table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/time_types.h"

struct sqlite3;
struct sqlite3_stmt;

namespace glowplug::storage {

// What kind of failure was met, for whoever has to tell a full disk from a broken one.
//   Busy    another program holds the file
//   Full    there is no room
//   Broken  the disk or the file: an error of reading, writing or syncing, damaged pages
enum class Fault { None, Busy, Full, Broken };

// disk_full. It goes to whoever asked, who is told the file's name and not where it lies.
Error no_room(const std::string& file);

struct Connection;  // of sqlite.cc

// One prepared statement with its values bound; stepped once to the end or until the caller stops.
class Statement final {
 public:
  Statement(Statement&&) noexcept;
  Statement& operator=(Statement&&) = delete;
  ~Statement();  // goes back to its connection, ready to be used again

  // The next value, in the order of the question marks. Bytes are copied.
  Statement& bind(std::string_view text);
  Statement& bind(std::int64_t number);
  Statement& bind_blob(std::string_view bytes);
  Statement& bind_null();

  Result<bool> step();    // true: a row is there; false: done
  Result<void> finish();  // steps to the end, for statements without rows

  std::int64_t number(int column) const;
  std::string text(int column) const;  // of a blob: its bytes
  bool is_null(int column) const;

 private:
  friend class Database;
  Statement(Connection& connection, sqlite3_stmt* statement, bool kept);
  void bound(int code);

  Connection* connection_;   // null once moved from
  sqlite3_stmt* statement_;  // its connection's own where `kept_`
  bool kept_;
  int bound_ = 0;
  int bind_code_ = 0;
};

class Database final {
 public:
  enum class Mode { ReadWrite, ReadOnly };
  enum class Checkpoint {
    Passive,   // as far as readers let it come
    Truncate,  // all of it, and the log is empty after it; an error where a reader is in the way
    TruncateWaiting  // the same after waiting for readers
  };
  struct LogFrames {
    int in_log = 0, copied = 0;  // pages
  };

  Database();  // closed: every use is an error
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  // Makes the file where it is absent, unless it is to be read only.
  static Result<Database> open(const std::string& file, Mode mode = Mode::ReadWrite);

  Result<void> execute(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);

  void set_busy_wait(Duration most);  // for a program that holds the file; 2 s at first

  std::int64_t changes() const;         // rows that the last statement changed
  std::int64_t last_insert_id() const;  // rowid of the last insert
  bool in_transaction() const;          // false too where SQLite has rolled back by itself

  Result<LogFrames> checkpoint(Checkpoint how);
  // Commits of this connection that have written to the log, and its pages after the last one.
  std::uint64_t log_commits() const;
  int log_pages() const;

  Fault fault() const;  // the worst one since the last clear_fault()
  void clear_fault();
  void interrupt();  // what runs now ends with an error

 private:
  std::unique_ptr<Connection> connection_;
};

// BEGIN IMMEDIATE … COMMIT; rolls back unless commit() succeeded. Not within WriteLoop's work,
// which is in a transaction already.
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
