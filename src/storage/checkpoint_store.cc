#include "storage/checkpoint_store.h"

#include <utility>

#include <fmt/format.h>

#include "domain/checkpoint.h"
#include "domain/errors.h"

namespace glowplug::storage {

CheckpointStore::CheckpointStore(WriteLoop& writer, Digest digest)
    : writer_(writer), digest_(std::move(digest)) {}

std::string CheckpointStore::checksum(const std::string& name,
                                      const StoredCheckpoint& checkpoint) const {
  // Names have no line ends, and the content comes last: no two rows read the same.
  return digest_(fmt::format("{}\n{}\n{}\n{}\n{}", name, checkpoint.step, checkpoint.revision,
                             checkpoint.created_ms, checkpoint.content));
}

Result<void> CheckpointStore::add(const std::string& name, const StoredCheckpoint& checkpoint) {
  return writer_.run([&](Database& database) { return insert(database, name, checkpoint); });
}

Result<void> CheckpointStore::insert(Database& database, const std::string& name,
                                     const StoredCheckpoint& checkpoint) const {
  Result<Statement> there =
      database.prepare("SELECT 1 FROM checkpoints WHERE name = ? AND step = ?");
  if (!there) return there.error();
  there->bind(name).bind(std::int64_t{checkpoint.step});
  const Result<bool> exists = there->step();
  if (!exists) return exists.error();
  if (*exists)
    return Error{std::string(domain::error::kCheckpointConflict),
                 fmt::format("{} of `{}` exists already; remove it first, or choose another step",
                             domain::checkpoint_name(checkpoint.step), name),
                 "step"};
  Result<Statement> add = database.prepare(
      "INSERT INTO checkpoints (name, step, revision, created_ms, content, checksum)"
      " VALUES (?, ?, ?, ?, ?, ?)");
  if (!add) return add.error();
  return add->bind(name)
      .bind(std::int64_t{checkpoint.step})
      .bind(std::int64_t{checkpoint.revision})
      .bind(checkpoint.created_ms)
      .bind(checkpoint.content)
      .bind(checksum(name, checkpoint))
      .finish();
}

Result<std::vector<StoredCheckpoint>> CheckpointStore::list(const std::string& name) {
  return writer_.ask([&](Database& database) { return read(database, name); });
}

Result<std::vector<StoredCheckpoint>> CheckpointStore::read(Database& database,
                                                            const std::string& name) const {
  Result<Statement> statement = database.prepare(
      "SELECT step, revision, created_ms, content, checksum FROM checkpoints WHERE name = ?"
      " ORDER BY step");
  if (!statement) return statement.error();
  statement->bind(name);
  std::vector<StoredCheckpoint> list;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return list;
    StoredCheckpoint one{.step = static_cast<int>(statement->number(0)),
                         .revision = static_cast<int>(statement->number(1)),
                         .created_ms = statement->number(2),
                         .content = statement->text(3)};
    if (checksum(name, one) != statement->text(4)) {
      one.damage = "its stored content does not match its checksum";
      one.content.clear();
    }
    list.push_back(std::move(one));
  }
}

Result<void> CheckpointStore::remove(const std::string& name, int step) {
  return writer_.run([&](Database& database) -> Result<void> {
    Result<Statement> statement =
        database.prepare("DELETE FROM checkpoints WHERE name = ? AND step = ?");
    if (!statement) return statement.error();
    return statement->bind(name).bind(std::int64_t{step}).finish();
  });
}

}  // namespace glowplug::storage
