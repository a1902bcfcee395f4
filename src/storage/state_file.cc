#include "storage/state_file.h"

#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"
#include "storage/data_folder.h"
#include "storage/schema.h"

namespace glowplug::storage {
namespace {

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

// One writing connection and no mmap: SQLite before 3.51.3 can corrupt a WAL that two connections
// write or checkpoint.
Result<void> configure(Database& database, const std::string& file) {
  for (const char* pragma :
       {"PRAGMA locking_mode=NORMAL", "PRAGMA mmap_size=0", "PRAGMA foreign_keys=ON",
        "PRAGMA trusted_schema=OFF", "PRAGMA cell_size_check=ON", "PRAGMA temp_store=MEMORY",
        "PRAGMA cache_size=-16384"}) {
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
  return database.execute("PRAGMA synchronous=FULL");
}

Result<Database> open_database(const std::string& file, bool with_check) {
  Result<Database> database = Database::open(file);
  if (!database) return database;
  const Result<void> ready = configure(*database, file);
  if (!ready) return ready.error();
  if (!with_check) return database;
  const Result<std::optional<Error>> damage = find_damage(*database, file);
  if (!damage) return damage.error();
  if (*damage) return **damage;
  return database;
}

}  // namespace

Result<std::optional<Error>> find_damage(Database& database, const std::string& file) {
  const Result<std::string> found = query_text(database, "PRAGMA quick_check(1)");
  if (!found && database.fault() == Fault::Broken) return std::optional(found.error());
  if (!found) return found.error();
  if (*found == "ok") return std::optional<Error>();
  return std::optional(storage_failed(
      fmt::format("'{}' is damaged ({}); restore it from a backup, or move it away to start empty",
                  file, *found)));
}

Result<StateFile> StateFile::open(const std::string& data_dir) {
  Result<UniqueFd> lock = lock_data_folder(data_dir);
  if (!lock) return lock.error();
  const std::string file = data_dir + "/glowplug.db";
  // Made here, for its owner alone, because SQLite would give it the rights of the umask; the WAL
  // copies them.
  UniqueFd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)).reset();
  std::error_code ec;
  const bool small = std::filesystem::file_size(file, ec) <= kCheckedAtOpening && !ec;
  Result<Database> database = open_database(file, small);
  if (!database) return database.error();
  const Result<void> migrated = migrate(*database, file);
  if (!migrated) return migrated.error();
  return StateFile{
      .lock = std::move(*lock), .path = file, .database = std::move(*database), .checked = small};
}

Result<void> StateFile::reopen() {
  database = Database();
  Result<Database> again = open_database(path, true);
  if (!again) return again.error();
  database = std::move(*again);
  return {};
}

}  // namespace glowplug::storage
