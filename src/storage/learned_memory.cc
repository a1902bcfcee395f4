#include "storage/learned_memory.h"

#include <utility>

namespace glowplug::storage {

LearnedMemory::LearnedMemory(FunctionStore& functions, std::string engine)
    : database_(functions.database()), engine_(std::move(engine)) {}

Result<void> LearnedMemory::set(const LearnedRow& row) {
  Result<Statement> statement = database_.prepare(
      "INSERT OR REPLACE INTO learned_memory (key, engine, first_bytes, peak_bytes)"
      " VALUES (?, ?, ?, ?)");
  if (!statement) return statement.error();
  return statement->bind(row.key)
      .bind(engine_)
      .bind(static_cast<std::int64_t>(row.first_bytes))
      .bind(static_cast<std::int64_t>(row.peak_bytes))
      .finish();
}

Result<std::vector<LearnedRow>> LearnedMemory::load() {
  Result<Statement> others = database_.prepare("DELETE FROM learned_memory WHERE engine <> ?");
  if (!others) return others.error();
  const Result<void> forgotten = others->bind(engine_).finish();
  if (!forgotten) return forgotten.error();
  Result<Statement> statement =
      database_.prepare("SELECT key, first_bytes, peak_bytes FROM learned_memory ORDER BY key");
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

}  // namespace glowplug::storage
