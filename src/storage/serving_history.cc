#include "storage/serving_history.h"

#include <cstdint>

#include "domain/limits.h"

namespace glowplug::storage {
namespace {

// 0 when there is none.
Result<std::int64_t> top_position(Database& database, const std::string& name) {
  Result<Statement> statement =
      database.prepare("SELECT max(position) FROM servings WHERE name = ?");
  if (!statement) return statement.error();
  statement->bind(name);
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  return statement->number(0);
}

Result<void> run(Database& database, std::string_view sql, const std::string& name,
                 std::int64_t position) {
  Result<Statement> statement = database.prepare(sql);
  if (!statement) return statement.error();
  return statement->bind(name).bind(position).finish();
}

}  // namespace

Result<void> push_serving(Database& database, const std::string& name, const Split& split) {
  const Result<std::int64_t> top = top_position(database, name);
  if (!top) return top.error();
  for (const ServedRevision& served : split) {
    Result<Statement> add = database.prepare(
        "INSERT INTO servings (name, position, revision, weight) VALUES (?, ?, ?, ?)");
    if (!add) return add.error();
    const Result<void> added = add->bind(name)
                                   .bind(*top + 1)
                                   .bind(std::int64_t{served.revision})
                                   .bind(std::int64_t{served.weight})
                                   .finish();
    if (!added) return added.error();
  }
  return run(database, "DELETE FROM servings WHERE name = ? AND position <= ?", name,
             *top + 1 - domain::kServingsKept);
}

Result<Split> top_serving(Database& database, const std::string& name) {
  Result<Statement> statement = database.prepare(
      "SELECT revision, weight FROM servings WHERE name = ?1 AND position ="
      " (SELECT max(position) FROM servings WHERE name = ?1) ORDER BY weight DESC, revision");
  if (!statement) return statement.error();
  statement->bind(name);
  Split split;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return split;
    split.push_back(
        {static_cast<int>(statement->number(0)), static_cast<int>(statement->number(1))});
  }
}

Result<std::optional<Split>> pop_serving(Database& database, const std::string& name) {
  const Result<std::int64_t> top = top_position(database, name);
  if (!top) return top.error();
  Result<Statement> below =
      database.prepare("SELECT 1 FROM servings WHERE name = ? AND position < ?");
  if (!below) return below.error();
  below->bind(name).bind(*top);
  const Result<bool> any = below->step();
  if (!any) return any.error();
  if (!*any) return std::optional<Split>();
  const Result<void> popped =
      run(database, "DELETE FROM servings WHERE name = ? AND position >= ?", name, *top);
  if (!popped) return popped.error();
  Result<Split> now = top_serving(database, name);
  if (!now) return now.error();
  return std::optional<Split>(std::move(*now));
}

Result<void> forget_servings(Database& database, const std::string& name) {
  return run(database, "DELETE FROM servings WHERE name = ? AND position >= ?", name, 0);
}

}  // namespace glowplug::storage
