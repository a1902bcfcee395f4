// What each function serves, and what it served before: a stack of splits, one change on top of the
// other, so that a rollback is a step down.
//
// A split names revisions with their weights, which sum to 100. The stack keeps the last
// kServingsKept; a rollback takes the top away.
//
// Thread: the writer's, within work of its own: all of it or nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/sqlite.h"

namespace glowplug::storage {

struct ServedRevision {
  int revision = 0;
  int weight = 0;
  friend bool operator==(const ServedRevision&, const ServedRevision&) = default;
};
using Split = std::vector<ServedRevision>;  // the largest weight first

Result<void> push_serving(Database& database, const std::string& name, const Split& split);
// Empty when the function has never served.
Result<Split> top_serving(Database& database, const std::string& name);
// Takes the top away and gives what is the top now; nothing, and no change, when nothing is below.
Result<std::optional<Split>> pop_serving(Database& database, const std::string& name);
Result<void> forget_servings(Database& database, const std::string& name);

}  // namespace glowplug::storage
