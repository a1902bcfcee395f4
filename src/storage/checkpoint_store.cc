#include "storage/checkpoint_store.h"

#include <utility>

#include <fmt/format.h>

#include "domain/checkpoint.h"
#include "domain/errors.h"

namespace glowplug::storage {

CheckpointStore::CheckpointStore(FunctionStore& functions, Digest digest)
    : database_(functions.database()), digest_(std::move(digest)) {}

std::string CheckpointStore::checksum(const std::string& name,
                                      const StoredCheckpoint& checkpoint) const {
  // Names have no line ends, and the content comes last: no two rows read the same.
  return digest_(fmt::format("{}\n{}\n{}\n{}\n{}", name, checkpoint.step, checkpoint.revision,
                             checkpoint.created_ms, checkpoint.content));
}

Result<void> CheckpointStore::add(const std::string& name, const StoredCheckpoint& checkpoint) {
  Result<Transaction> transaction = Transaction::begin(database_);
  if (!transaction) return transaction.error();
  Result<Statement> there =
      database_.prepare("SELECT 1 FROM checkpoints WHERE name = ? AND step = ?");
  if (!there) return there.error();
  there->bind(name).bind(std::int64_t{checkpoint.step});
  const Result<bool> exists = there->step();
  if (!exists) return exists.error();
  if (*exists)
    return Error{std::string(domain::error::kCheckpointConflict),
                 fmt::format("{} of `{}` exists already; remove it first, or choose another step",
                             domain::checkpoint_name(checkpoint.step), name),
                 "step"};
  Result<Statement> add = database_.prepare(
      "INSERT INTO checkpoints (name, step, revision, created_ms, content, checksum)"
      " VALUES (?, ?, ?, ?, ?, ?)");
  if (!add) return add.error();
  const Result<void> added = add->bind(name)
                                 .bind(std::int64_t{checkpoint.step})
                                 .bind(std::int64_t{checkpoint.revision})
                                 .bind(checkpoint.created_ms)
                                 .bind(checkpoint.content)
                                 .bind(checksum(name, checkpoint))
                                 .finish();
  if (!added) return added.error();
  return transaction->commit();
}

Result<std::vector<StoredCheckpoint>> CheckpointStore::list(const std::string& name) {
  Result<Statement> statement = database_.prepare(
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
  Result<Statement> statement =
      database_.prepare("DELETE FROM checkpoints WHERE name = ? AND step = ?");
  if (!statement) return statement.error();
  return statement->bind(name).bind(std::int64_t{step}).finish();
}

}  // namespace glowplug::storage
