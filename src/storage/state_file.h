// The one file that holds what outlives the server: opened, locked, brought to this program's
// schema.
//
// The folder belongs to one server at a time. Schema steps are never edited, only added, and run in
// one transaction: one that fails leaves the file as it was. A file of a newer program is refused.
// Thread: one owner.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

struct StateFile {
  UniqueFd lock;  // of the folder; given back after the database is closed
  std::string path;
  Database database;

  static Result<StateFile> open(const std::string& data_dir);
  // Closed, opened again and checked: after a failure to write. On an error it stays closed.
  Result<void> reopen();
};

}  // namespace glowplug::storage
