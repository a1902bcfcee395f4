#include "storage/sqlite.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <sqlite3.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

constexpr std::size_t kStatementsKept = 256;  // far more than there are texts
constexpr int kBusyWaitMs = 2000;

Error storage_failed(std::string message) {
  return Error{std::string(domain::error::kStorageFailed), std::move(message), {}};
}

Fault fault_of(int code) {
  if (code == SQLITE_IOERR_SHMSIZE) return Fault::Full;  // the index of the log could not grow
  switch (code & 0xFF) {
    case SQLITE_FULL: return Fault::Full;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return Fault::Busy;
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_READONLY:
    case SQLITE_NOMEM: return Fault::Broken;
    default: return Fault::None;
  }
}

Error failure(const std::string& file, int code, const char* detail) {
  const int primary = code & 0xFF;
  if (fault_of(code) == Fault::Full) return no_room(file);
  if (fault_of(code) == Fault::Busy)
    return storage_failed(fmt::format(
        "'{}' is held by another program; end it, and leave the file to its server", file));
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB)
    return storage_failed(fmt::format(
        "'{}' is damaged ({}); restore it from a backup, or move it away to start empty", file,
        detail));
  return storage_failed(
      fmt::format("'{}' cannot be used: {}; check the folder's rights and its disk", file, detail));
}

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};

}  // namespace

Error no_room(const std::string& file) {
  return Error{std::string(domain::error::kDiskFull),
               fmt::format("there is no room to write '{}'; free some space and try again",
                           file.substr(file.rfind('/') + 1)),
               {}};
}

// Has an address of its own, so that statements may name it while its Database moves.
struct Connection {
  struct Kept {
    sqlite3_stmt* statement = nullptr;  // null while a Statement has it
  };
  explicit Connection(std::string path) : file(std::move(path)) {}
  ~Connection() {
    for (const auto& [text, one] : kept) sqlite3_finalize(one.statement);
    sqlite3_close(database);
  }

  Error failed(int code, const char* detail) {
    fault = std::max(fault, fault_of(code));
    return failure(file, code, detail);
  }
  Error failed() { return failed(sqlite3_extended_errcode(database), sqlite3_errmsg(database)); }

  const std::string file;
  sqlite3* database = nullptr;
  std::unordered_map<std::string, Kept, TextHash, std::equal_to<>> kept;
  Fault fault = Fault::None;
  std::uint64_t log_commits = 0;
  int log_pages = 0;
  int busy_wait_ms = kBusyWaitMs;
};

// --- statements ---

Statement::Statement(Connection& connection, sqlite3_stmt* statement, bool kept)
    : connection_(&connection), statement_(statement), kept_(kept) {}

Statement::Statement(Statement&& other) noexcept
    : connection_(std::exchange(other.connection_, nullptr)),
      statement_(other.statement_),
      kept_(other.kept_),
      bound_(other.bound_),
      bind_code_(other.bind_code_) {}

Statement::~Statement() {
  if (connection_ == nullptr) return;
  if (!kept_) {
    sqlite3_finalize(statement_);
    return;
  }
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  connection_->kept.find(std::string_view(sqlite3_sql(statement_)))->second.statement = statement_;
}

void Statement::bound(int code) {
  if (code != SQLITE_OK) bind_code_ = code;
}

Statement& Statement::bind(std::string_view text) {
  bound(sqlite3_bind_text64(statement_, ++bound_, text.data() ? text.data() : "", text.size(),
                            SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

Statement& Statement::bind(std::int64_t number) {
  bound(sqlite3_bind_int64(statement_, ++bound_, number));
  return *this;
}

Statement& Statement::bind_blob(std::string_view bytes) {
  bound(sqlite3_bind_blob64(statement_, ++bound_, bytes.data() ? bytes.data() : "", bytes.size(),
                            SQLITE_TRANSIENT));
  return *this;
}

Statement& Statement::bind_null() {
  bound(sqlite3_bind_null(statement_, ++bound_));
  return *this;
}

Result<bool> Statement::step() {
  if (bind_code_ != SQLITE_OK) return connection_->failed(bind_code_, sqlite3_errstr(bind_code_));
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return connection_->failed();
}

Result<void> Statement::finish() {
  while (true) {
    const Result<bool> row = step();
    if (!row) return row.error();
    if (!*row) return {};
  }
}

std::int64_t Statement::number(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Statement::text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  if (bytes == nullptr) return {};
  const int size = sqlite3_column_bytes(statement_, column);
  return std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

// --- the connection ---

Database::Database() : connection_(std::make_unique<Connection>("")) {}
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

Result<Database> Database::open(const std::string& file, Mode mode) {
  Database database;
  database.connection_ = std::make_unique<Connection>(file);
  Connection& connection = *database.connection_;
  const int access =
      mode == Mode::ReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(file.c_str(), &connection.database,
                                   access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (code != SQLITE_OK)
    return connection.failed(
        code, connection.database ? sqlite3_errmsg(connection.database) : sqlite3_errstr(code));
  sqlite3_busy_timeout(connection.database, connection.busy_wait_ms);
  // In the place of SQLite's own, which would checkpoint whenever a commit finds the log long.
  sqlite3_wal_hook(
      connection.database,
      [](void* context, sqlite3*, const char*, int pages) {
        auto& owner = *static_cast<Connection*>(context);
        ++owner.log_commits;
        owner.log_pages = pages;
        return SQLITE_OK;
      },
      &connection);
  return database;
}

Result<void> Database::execute(const std::string& sql) {
  if (connection_->database == nullptr) return connection_->failed(SQLITE_CANTOPEN, "it is closed");
  if (sqlite3_exec(connection_->database, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK)
    return {};
  return connection_->failed();
}

Result<Statement> Database::prepare(std::string_view sql) {
  if (connection_->database == nullptr) return connection_->failed(SQLITE_CANTOPEN, "it is closed");
  auto found = connection_->kept.find(sql);
  if (found != connection_->kept.end() && found->second.statement != nullptr)
    return Statement(*connection_, std::exchange(found->second.statement, nullptr), true);
  sqlite3_stmt* statement = nullptr;
  // Persistent: it is kept long, and its memory is not taken from the small allocations' pool.
  const int code =
      sqlite3_prepare_v3(connection_->database, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return connection_->failed();
  // One text may be in use twice at a time; the second is not kept.
  const bool keep = found == connection_->kept.end() &&
                    connection_->kept.size() < kStatementsKept && statement != nullptr &&
                    std::string_view(sqlite3_sql(statement)) == sql;
  if (keep) connection_->kept.emplace(std::string(sql), Connection::Kept{});
  return Statement(*connection_, statement, keep);
}

void Database::set_busy_wait(Duration most) {
  connection_->busy_wait_ms =
      static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(most).count());
  sqlite3_busy_timeout(connection_->database, connection_->busy_wait_ms);
}

std::int64_t Database::changes() const { return sqlite3_changes64(connection_->database); }

std::int64_t Database::last_insert_id() const {
  return sqlite3_last_insert_rowid(connection_->database);
}

bool Database::in_transaction() const {
  return connection_->database != nullptr && sqlite3_get_autocommit(connection_->database) == 0;
}

Result<Database::LogFrames> Database::checkpoint(Checkpoint how) {
  if (connection_->database == nullptr) return connection_->failed(SQLITE_CANTOPEN, "it is closed");
  const int mode =
      how == Checkpoint::Passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_TRUNCATE;
  LogFrames frames;
  if (how == Checkpoint::Truncate) sqlite3_busy_timeout(connection_->database, 0);
  const int code = sqlite3_wal_checkpoint_v2(connection_->database, nullptr, mode, &frames.in_log,
                                             &frames.copied);
  if (how == Checkpoint::Truncate)
    sqlite3_busy_timeout(connection_->database, connection_->busy_wait_ms);
  if (code != SQLITE_OK) return connection_->failed();
  if (how != Checkpoint::Passive) connection_->log_pages = 0;
  return frames;
}

std::uint64_t Database::log_commits() const { return connection_->log_commits; }
int Database::log_pages() const { return connection_->log_pages; }

Fault Database::fault() const { return connection_->fault; }
void Database::clear_fault() { connection_->fault = Fault::None; }

void Database::interrupt() {
  if (connection_->database != nullptr) sqlite3_interrupt(connection_->database);
}

// --- transactions ---

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
