// The tables of the state file, and the steps that have led to them.
//
// Steps are never edited, only added; all that are missing run in one transaction, so that one that
// fails leaves the file as it was. A file of a newer program is refused. The columns of a table are
// explained where it is created, in schema.cc.
//
// Thread: the owner of the database.
#pragma once

#include <string>

#include "base/result.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

// `file` is for messages.
Result<void> migrate(Database& database, const std::string& file);

}  // namespace glowplug::storage
