#include "storage/learned_memory.h"

#include <utility>

namespace glowplug::storage {
namespace {

Result<void> store(Database& database, const std::string& engine, const LearnedRow& row) {
  Result<Statement> statement = database.prepare(
      "INSERT OR REPLACE INTO learned_memory (key, engine, first_bytes, peak_bytes)"
      " VALUES (?, ?, ?, ?)");
  if (!statement) return statement.error();
  return statement->bind(row.key)
      .bind(engine)
      .bind(static_cast<std::int64_t>(row.first_bytes))
      .bind(static_cast<std::int64_t>(row.peak_bytes))
      .finish();
}

Result<std::vector<LearnedRow>> read(Database& database, const std::string& engine) {
  Result<Statement> others = database.prepare("DELETE FROM learned_memory WHERE engine <> ?");
  if (!others) return others.error();
  const Result<void> forgotten = others->bind(engine).finish();
  if (!forgotten) return forgotten.error();
  Result<Statement> statement =
      database.prepare("SELECT key, first_bytes, peak_bytes FROM learned_memory ORDER BY key");
  if (!statement) return statement.error();
  std::vector<LearnedRow> rows;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return rows;
    rows.push_back({.key = statement->text(0),
                    .first_bytes = static_cast<std::uint64_t>(statement->number(1)),
                    .peak_bytes = static_cast<std::uint64_t>(statement->number(2))});
  }
}

}  // namespace

LearnedMemory::LearnedMemory(WriteLoop& writer, std::string engine)
    : writer_(writer), engine_(std::move(engine)) {}

void LearnedMemory::set(LearnedRow row, WriteLoop::Done done) {
  writer_.post([row = std::move(row),
                engine = engine_](Database& database) { return store(database, engine, row); },
               std::move(done));
}

Result<std::vector<LearnedRow>> LearnedMemory::load() {
  return writer_.ask([this](Database& database) { return read(database, engine_); });
}

}  // namespace glowplug::storage
