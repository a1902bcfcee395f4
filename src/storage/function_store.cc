#include "storage/function_store.h"

#include <array>
#include <fcntl.h>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"
#include "storage/data_folder.h"

namespace glowplug::storage {
namespace {

// The step at index i brings the schema from version i to i + 1. Steps are never edited, only
// added.
constexpr std::array<std::string_view, 4> kMigrations{
    "CREATE TABLE revisions (name TEXT NOT NULL, revision INTEGER NOT NULL, manifest TEXT NOT NULL,"
    "  PRIMARY KEY (name, revision)) WITHOUT ROWID;"
    "CREATE TABLE functions (name TEXT PRIMARY KEY NOT NULL, current INTEGER NOT NULL,"
    "  deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;",
    "ALTER TABLE revisions ADD COLUMN tuned TEXT NOT NULL DEFAULT '';",
    // What has served before the step is not known, so a rollback reaches no further back.
    "CREATE TABLE servings (name TEXT NOT NULL, position INTEGER NOT NULL,"
    "  revision INTEGER NOT NULL, weight INTEGER NOT NULL,"
    "  PRIMARY KEY (name, position, revision)) WITHOUT ROWID;"
    "INSERT INTO servings SELECT name, 1, current, 100 FROM functions WHERE deleted = 0;"
    "CREATE TABLE checkpoints (name TEXT NOT NULL, step INTEGER NOT NULL,"
    "  revision INTEGER NOT NULL, created_ms INTEGER NOT NULL, content TEXT NOT NULL,"
    "  checksum TEXT NOT NULL, PRIMARY KEY (name, step)) WITHOUT ROWID;",
    "CREATE TABLE learned_memory (key TEXT PRIMARY KEY NOT NULL, engine TEXT NOT NULL,"
    "  first_bytes INTEGER NOT NULL, peak_bytes INTEGER NOT NULL) WITHOUT ROWID;"};
constexpr int kSchemaVersion = static_cast<int>(kMigrations.size());

Error storage_failed(std::string message) {
  return Error{std::string(domain::error::kStorageFailed), std::move(message), {}};
}

// The first column of the first row as text; empty when there is no row.
Result<std::string> query_text(Database& database, std::string_view sql) {
  Result<Statement> statement = database.prepare(sql);
  if (!statement) return statement.error();
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  return *row ? statement->text(0) : std::string{};
}

// One connection and no mmap: SQLite before 3.51.3 can corrupt a WAL that two connections write.
Result<void> configure(Database& database, const std::string& file) {
  for (const char* pragma : {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA mmap_size=0",
                             "PRAGMA foreign_keys=ON", "PRAGMA trusted_schema=OFF"}) {
    const Result<void> set = database.execute(pragma);
    if (!set) return set.error();
  }
  const Result<std::string> mode = query_text(database, "PRAGMA journal_mode=WAL");
  if (!mode) return mode.error();
  if (*mode != "wal")
    return storage_failed(
        fmt::format("'{}' cannot use a write-ahead log (journal mode is {}); move the data folder "
                    "to a local file system",
                    file, *mode));
  const Result<void> synchronous = database.execute("PRAGMA synchronous=FULL");
  if (!synchronous) return synchronous.error();
  const Result<std::string> check = query_text(database, "PRAGMA quick_check(1)");
  if (!check) return check.error();
  if (*check != "ok")
    return storage_failed(
        fmt::format("'{}' is damaged ({}); restore it from a backup, or move it away to start "
                    "empty",
                    file, *check));
  return {};
}

Result<int> schema_version(Database& database) {
  const Result<void> made =
      database.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)");
  if (!made) return made.error();
  Result<Statement> statement = database.prepare("SELECT max(version) FROM schema_version");
  if (!statement) return statement.error();
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  return static_cast<int>(statement->number(0));
}

Result<void> migrate(Database& database, const std::string& file) {
  Result<Transaction> transaction = Transaction::begin(database);
  if (!transaction) return transaction.error();
  const Result<int> version = schema_version(database);
  if (!version) return version.error();
  if (*version > kSchemaVersion)
    return storage_failed(fmt::format(
        "'{}' was written by a newer Glowplug (schema {}, this program knows up to {}); "
        "use that version, or another data folder",
        file, *version, kSchemaVersion));
  if (*version == kSchemaVersion) return {};
  for (int step = *version; step < kSchemaVersion; ++step) {
    const Result<void> done =
        database.execute(std::string(kMigrations[static_cast<std::size_t>(step)]));
    if (!done) return done.error();
  }
  const Result<void> noted = database.execute(fmt::format(
      "DELETE FROM schema_version; INSERT INTO schema_version VALUES ({})", kSchemaVersion));
  if (!noted) return noted.error();
  return transaction->commit();
}

Result<std::vector<StoredFunction>> read_functions(Statement& statement) {
  std::vector<StoredFunction> list;
  while (true) {
    const Result<bool> row = statement.step();
    if (!row) return row.error();
    if (!*row) return list;
    list.push_back(StoredFunction{.name = statement.text(0),
                                  .revision = static_cast<int>(statement.number(1)),
                                  .manifest_json = statement.text(2),
                                  .deleted = statement.number(3) != 0,
                                  .tuned_json = statement.text(4)});
  }
}

}  // namespace

FunctionStore::FunctionStore(UniqueFd lock, Database database)
    : lock_(std::move(lock)), database_(std::move(database)) {}

Result<std::unique_ptr<FunctionStore>> FunctionStore::open(const std::string& data_dir) {
  Result<UniqueFd> lock = lock_data_folder(data_dir);
  if (!lock) return lock.error();
  const std::string file = data_dir + "/glowplug.db";
  // Made here, for its owner alone, because SQLite would give it the rights of the umask; the WAL
  // copies them.
  UniqueFd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)).reset();
  Result<Database> database = Database::open(file);
  if (!database) return database.error();
  const Result<void> configured = configure(*database, file);
  if (!configured) return configured.error();
  const Result<void> migrated = migrate(*database, file);
  if (!migrated) return migrated.error();
  return std::unique_ptr<FunctionStore>(new FunctionStore(std::move(*lock), std::move(*database)));
}

Result<void> FunctionStore::put(const std::string& name, int revision,
                                const std::string& manifest_json) {
  Result<Transaction> transaction = Transaction::begin(database_);
  if (!transaction) return transaction.error();
  const Result<int> next = next_revision(name);
  if (!next) return next.error();
  if (revision < *next)
    return Error{std::string(domain::error::kRevisionConflict),
                 fmt::format("revision {} of function '{}' exists already; the next one is {}",
                             revision, name, *next),
                 "revision"};
  Result<Statement> add =
      database_.prepare("INSERT INTO revisions (name, revision, manifest) VALUES (?, ?, ?)");
  if (!add) return add.error();
  const Result<void> added =
      add->bind(name).bind(std::int64_t{revision}).bind(manifest_json).finish();
  if (!added) return added.error();
  const Result<void> pointed = point(name, revision);
  if (!pointed) return pointed.error();
  const Result<void> pushed = push_serving(database_, name, {{revision, 100}});
  if (!pushed) return pushed.error();
  return transaction->commit();
}

Result<void> FunctionStore::point(const std::string& name, int revision) {
  Result<Statement> point = database_.prepare(
      "INSERT INTO functions (name, current, deleted) VALUES (?, ?, 0)"
      " ON CONFLICT (name) DO UPDATE SET current = excluded.current, deleted = 0");
  if (!point) return point.error();
  return point->bind(name).bind(std::int64_t{revision}).finish();
}

Result<void> FunctionStore::serve(const std::string& name, const Split& split) {
  Result<Transaction> transaction = Transaction::begin(database_);
  if (!transaction) return transaction.error();
  const Result<void> pushed = push_serving(database_, name, split);
  if (!pushed) return pushed.error();
  const Result<Split> now = top_serving(database_, name);
  if (!now) return now.error();
  const Result<void> pointed = point(name, now->front().revision);
  if (!pointed) return pointed.error();
  return transaction->commit();
}

Result<void> FunctionStore::set_tuned(const std::string& name, int revision,
                                      const std::string& tuned_json) {
  Result<Statement> statement =
      database_.prepare("UPDATE revisions SET tuned = ? WHERE name = ? AND revision = ?");
  if (!statement) return statement.error();
  return statement->bind(tuned_json).bind(name).bind(std::int64_t{revision}).finish();
}

Result<Split> FunctionStore::serving(const std::string& name) {
  return top_serving(database_, name);
}

Result<std::optional<Split>> FunctionStore::step_back(const std::string& name) {
  Result<Transaction> transaction = Transaction::begin(database_);
  if (!transaction) return transaction.error();
  Result<std::optional<Split>> now = pop_serving(database_, name);
  if (!now || !*now) return now;
  const Result<void> pointed = point(name, (*now)->front().revision);
  if (!pointed) return pointed.error();
  const Result<void> committed = transaction->commit();
  if (!committed) return committed.error();
  return now;
}

Result<void> FunctionStore::remove(const std::string& name) {
  Result<Transaction> transaction = Transaction::begin(database_);
  if (!transaction) return transaction.error();
  for (const char* sql : {"UPDATE functions SET deleted = 1 WHERE name = ?",
                          "DELETE FROM checkpoints WHERE name = ?"}) {
    Result<Statement> statement = database_.prepare(sql);
    if (!statement) return statement.error();
    const Result<void> done = statement->bind(name).finish();
    if (!done) return done.error();
  }
  const Result<void> forgotten = forget_servings(database_, name);
  if (!forgotten) return forgotten.error();
  return transaction->commit();
}

Result<std::vector<StoredFunction>> FunctionStore::load() {
  Result<Statement> statement = database_.prepare(
      "SELECT f.name, f.current, r.manifest, f.deleted, r.tuned FROM functions f"
      " JOIN revisions r ON r.name = f.name AND r.revision = f.current WHERE f.deleted = 0 ORDER "
      "BY f.name");
  if (!statement) return statement.error();
  return read_functions(*statement);
}

Result<std::vector<StoredFunction>> FunctionStore::revisions(const std::string& name) {
  Result<Statement> statement = database_.prepare(
      "SELECT r.name, r.revision, r.manifest, f.deleted, r.tuned FROM revisions r JOIN functions f "
      "ON "
      "f.name = r.name"
      " WHERE r.name = ? ORDER BY r.revision");
  if (!statement) return statement.error();
  statement->bind(name);
  return read_functions(*statement);
}

Result<std::optional<StoredFunction>> FunctionStore::find(const std::string& name, int revision) {
  Result<Statement> statement = database_.prepare(
      "SELECT r.name, r.revision, r.manifest, f.deleted, r.tuned FROM revisions r JOIN functions f"
      " ON f.name = r.name WHERE r.name = ? AND r.revision = ?");
  if (!statement) return statement.error();
  statement->bind(name).bind(std::int64_t{revision});
  Result<std::vector<StoredFunction>> found = read_functions(*statement);
  if (!found) return found.error();
  if (found->empty()) return std::optional<StoredFunction>();
  return std::optional<StoredFunction>(std::move(found->front()));
}

Result<int> FunctionStore::next_revision(const std::string& name) {
  Result<Statement> statement =
      database_.prepare("SELECT max(revision) FROM revisions WHERE name = ?");
  if (!statement) return statement.error();
  statement->bind(name);
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  return 1 + static_cast<int>(statement->number(0));
}

}  // namespace glowplug::storage
