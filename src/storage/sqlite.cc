#include "storage/sqlite.h"

#include <utility>

#include <fmt/format.h>
#include <sqlite3.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

Error failure(const std::string& file, int code, const char* detail) {
  const int primary = code & 0xFF;
  if (primary == SQLITE_FULL)
    return Error{std::string(domain::error::kDiskFull),
                 fmt::format("there is no room to write '{}'; free some space and try again", file),
                 {}};
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB)
    return Error{
        std::string(domain::error::kStorageFailed),
        fmt::format(
            "'{}' is damaged ({}); restore it from a backup, or move it away to start empty", file,
            detail),
        {}};
  return Error{
      std::string(domain::error::kStorageFailed),
      fmt::format("'{}' cannot be used: {}; check the folder's rights and its disk", file, detail),
      {}};
}

Error failure(const std::string& file, sqlite3* database) {
  return failure(file, sqlite3_extended_errcode(database), sqlite3_errmsg(database));
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(sqlite3_stmt* statement, std::string file)
    : statement_(statement), file_(std::move(file)) {}

Statement& Statement::bind(std::string_view text) {
  const int code = sqlite3_bind_text64(statement_.get(), ++bound_, text.data(), text.size(),
                                       SQLITE_TRANSIENT, SQLITE_UTF8);
  if (code != SQLITE_OK) bind_code_ = code;
  return *this;
}

Statement& Statement::bind(std::int64_t number) {
  const int code = sqlite3_bind_int64(statement_.get(), ++bound_, number);
  if (code != SQLITE_OK) bind_code_ = code;
  return *this;
}

Result<bool> Statement::step() {
  if (bind_code_ != SQLITE_OK) return failure(file_, bind_code_, sqlite3_errstr(bind_code_));
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return failure(file_, sqlite3_db_handle(statement_.get()));
}

Result<void> Statement::finish() {
  while (true) {
    const Result<bool> row = step();
    if (!row) return row.error();
    if (!*row) return {};
  }
}

std::int64_t Statement::number(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::text(int column) const {
  const unsigned char* bytes = sqlite3_column_text(statement_.get(), column);
  if (bytes == nullptr) return {};
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return std::string(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

void Database::Close::operator()(sqlite3* database) const { sqlite3_close(database); }

Database::Database(sqlite3* database, std::string file)
    : database_(database), file_(std::move(file)) {}

Result<Database> Database::open(const std::string& file) {
  sqlite3* raw = nullptr;
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(file.c_str(), &raw, flags, nullptr);
  Database database(raw, file);
  if (code != SQLITE_OK)
    return failure(file, code, raw != nullptr ? sqlite3_errmsg(raw) : sqlite3_errstr(code));
  return database;
}

Result<void> Database::execute(const std::string& sql) {
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return failure(file_, database_.get());
}

Result<Statement> Database::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int code = sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()),
                                      &statement, nullptr);
  if (code != SQLITE_OK) return failure(file_, database_.get());
  return Statement(statement, file_);
}

Result<Transaction> Transaction::begin(Database& database) {
  const Result<void> begun = database.execute("BEGIN IMMEDIATE");
  if (!begun) return begun.error();
  return Transaction(database);
}

Transaction::Transaction(Transaction&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Transaction::~Transaction() {
  // A failed rollback means that SQLite has rolled back by itself already.
  if (database_ != nullptr) static_cast<void>(database_->execute("ROLLBACK"));
}

Result<void> Transaction::commit() {
  Result<void> committed = database_->execute("COMMIT");
  if (committed) database_ = nullptr;
  return committed;
}

}  // namespace glowplug::storage
