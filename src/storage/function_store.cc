#include "storage/function_store.h"

#include <utility>

#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

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

Result<int> next_revision_of(Database& database, const std::string& name) {
  Result<Statement> statement =
      database.prepare("SELECT max(revision) FROM revisions WHERE name = ?");
  if (!statement) return statement.error();
  statement->bind(name);
  const Result<bool> row = statement->step();
  if (!row) return row.error();
  return 1 + static_cast<int>(statement->number(0));
}

Result<void> point(Database& database, const std::string& name, int revision) {
  Result<Statement> point = database.prepare(
      "INSERT INTO functions (name, current, deleted) VALUES (?, ?, 0)"
      " ON CONFLICT (name) DO UPDATE SET current = excluded.current, deleted = 0");
  if (!point) return point.error();
  return point->bind(name).bind(std::int64_t{revision}).finish();
}

Result<void> put_revision(Database& database, const std::string& name, int revision,
                          const std::string& manifest_json) {
  const Result<int> next = next_revision_of(database, name);
  if (!next) return next.error();
  if (revision < *next)
    return Error{std::string(domain::error::kRevisionConflict),
                 fmt::format("revision {} of function '{}' exists already; the next one is {}",
                             revision, name, *next),
                 "revision"};
  Result<Statement> add =
      database.prepare("INSERT INTO revisions (name, revision, manifest) VALUES (?, ?, ?)");
  if (!add) return add.error();
  const Result<void> added =
      add->bind(name).bind(std::int64_t{revision}).bind(manifest_json).finish();
  if (!added) return added.error();
  const Result<void> pointed = point(database, name, revision);
  if (!pointed) return pointed.error();
  return push_serving(database, name, {{revision, 100}});
}

Result<void> remove_function(Database& database, const std::string& name) {
  for (const char* sql : {"UPDATE functions SET deleted = 1 WHERE name = ?",
                          "DELETE FROM checkpoints WHERE name = ?"}) {
    Result<Statement> statement = database.prepare(sql);
    if (!statement) return statement.error();
    const Result<void> done = statement->bind(name).finish();
    if (!done) return done.error();
  }
  return forget_servings(database, name);
}

}  // namespace

// Each waits for its work, so that a lambda may borrow everything that it names.

Result<void> FunctionStore::put(const std::string& name, int revision,
                                const std::string& manifest_json) {
  return writer_.run(
      [&](Database& database) { return put_revision(database, name, revision, manifest_json); });
}

Result<void> FunctionStore::serve(const std::string& name, const Split& split) {
  return writer_.run([&](Database& database) -> Result<void> {
    const Result<void> pushed = push_serving(database, name, split);
    if (!pushed) return pushed.error();
    const Result<Split> now = top_serving(database, name);
    if (!now) return now.error();
    return point(database, name, now->front().revision);
  });
}

Result<void> FunctionStore::set_tuned(const std::string& name, int revision,
                                      const std::string& tuned_json) {
  return writer_.run([&](Database& database) -> Result<void> {
    Result<Statement> statement =
        database.prepare("UPDATE revisions SET tuned = ? WHERE name = ? AND revision = ?");
    if (!statement) return statement.error();
    return statement->bind(tuned_json).bind(name).bind(std::int64_t{revision}).finish();
  });
}

Result<Split> FunctionStore::serving(const std::string& name) {
  return writer_.ask([&](Database& database) { return top_serving(database, name); });
}

Result<std::optional<Split>> FunctionStore::step_back(const std::string& name) {
  return writer_.ask([&](Database& database) -> Result<std::optional<Split>> {
    Result<std::optional<Split>> now = pop_serving(database, name);
    if (!now || !*now) return now;
    const Result<void> pointed = point(database, name, (*now)->front().revision);
    if (!pointed) return pointed.error();
    return now;
  });
}

Result<void> FunctionStore::remove(const std::string& name) {
  return writer_.run([&](Database& database) { return remove_function(database, name); });
}

Result<std::vector<StoredFunction>> FunctionStore::load() {
  return writer_.ask([](Database& database) -> Result<std::vector<StoredFunction>> {
    Result<Statement> statement = database.prepare(
        "SELECT f.name, f.current, r.manifest, f.deleted, r.tuned FROM functions f"
        " JOIN revisions r ON r.name = f.name AND r.revision = f.current"
        " WHERE f.deleted = 0 ORDER BY f.name");
    if (!statement) return statement.error();
    return read_functions(*statement);
  });
}

Result<std::vector<StoredFunction>> FunctionStore::revisions(const std::string& name) {
  return writer_.ask([&](Database& database) -> Result<std::vector<StoredFunction>> {
    Result<Statement> statement = database.prepare(
        "SELECT r.name, r.revision, r.manifest, f.deleted, r.tuned FROM revisions r"
        " JOIN functions f ON f.name = r.name WHERE r.name = ? ORDER BY r.revision");
    if (!statement) return statement.error();
    statement->bind(name);
    return read_functions(*statement);
  });
}

Result<std::optional<StoredFunction>> FunctionStore::find(const std::string& name, int revision) {
  return writer_.ask([&](Database& database) -> Result<std::optional<StoredFunction>> {
    Result<Statement> statement = database.prepare(
        "SELECT r.name, r.revision, r.manifest, f.deleted, r.tuned FROM revisions r"
        " JOIN functions f ON f.name = r.name WHERE r.name = ? AND r.revision = ?");
    if (!statement) return statement.error();
    statement->bind(name).bind(std::int64_t{revision});
    Result<std::vector<StoredFunction>> found = read_functions(*statement);
    if (!found) return found.error();
    if (found->empty()) return std::optional<StoredFunction>();
    return std::optional<StoredFunction>(std::move(found->front()));
  });
}

Result<int> FunctionStore::next_revision(const std::string& name) {
  return writer_.ask([&](Database& database) { return next_revision_of(database, name); });
}

}  // namespace glowplug::storage
