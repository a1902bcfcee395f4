// Batches as rows of the table `batches`. Thread: where the database is.
#pragma once

#include <vector>

#include "base/result.h"
#include "queue/batch_types.h"
#include "storage/sqlite.h"

namespace glowplug::queue {

Result<std::vector<BatchRecord>> read_batches(storage::Database& database);  // by id
Result<void> insert_batch(storage::Database& database, const BatchRecord& record);
Result<void> update_batch(storage::Database& database, const BatchRecord& record);
Result<void> delete_batch(storage::Database& database, std::int64_t id);

}  // namespace glowplug::queue
