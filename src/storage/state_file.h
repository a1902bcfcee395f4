// The one file that holds what outlives the server: opened, locked, brought to this program's
// schema.
//
// The folder belongs to one server at a time. Schema steps are never edited, only added, and run in
// one transaction: one that fails leaves the file as it was. A file of a newer program is refused.
// Pages are checked at opening while that is quick; a large file's owner does it beside its start
// (measured: 735 MB take 5 s).
// Thread: one owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

inline constexpr std::uint64_t kCheckedAtOpening = 32ULL << 20;  // bytes of the file, at most

// What is wrong with its pages, of which all are read; nothing where they are sound. An error where
// that could not be found out. It is one transaction: meanwhile the log only grows.
Result<std::optional<Error>> find_damage(Database& database, const std::string& file);

struct StateFile {
  UniqueFd lock;  // of the folder; given back after the database is closed
  std::string path;
  Database database;
  bool checked = true;  // false: find_damage() is still to be called, on a connection of its own

  static Result<StateFile> open(const std::string& data_dir);
  // Closed, opened again and checked, however large: after a failure to write. On an error it stays
  // closed.
  Result<void> reopen();
};

}  // namespace glowplug::storage
