// Functions, all their revisions and which of them serve, durable: what survives a restart of the
// server.
//
// Every put, serve, step back and remove is all or nothing, and on the disk when the call returns:
// the caller waits for the writer. It understands no manifest; JSON goes in and out.
//
// Thread: any but the writer's. Not here: model files, keys, usage.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "storage/serving_history.h"
#include "storage/write_loop.h"

namespace glowplug::storage {

struct StoredFunction {
  std::string name;
  int revision = 0;
  std::string manifest_json;
  bool deleted = false;         // the function does not exist (any more), its revisions are kept
  std::string tuned_json = {};  // what was measured of this revision on this machine; often empty
  friend bool operator==(const StoredFunction&, const StoredFunction&) = default;
};

class FunctionStore final {
 public:
  explicit FunctionStore(WriteLoop& writer) : writer_(writer) {}  // `writer` outlives this

  // Makes `revision` the only one that serves. A number that the name has used already is refused:
  // revisions never change.
  Result<void> put(const std::string& name, int revision, const std::string& manifest_json);
  // A measurement, which may be made again; the revision itself stays as it is. Of one that does
  // not exist: nothing.
  Result<void> set_tuned(const std::string& name, int revision, const std::string& tuned_json);
  // Its revisions are kept, its checkpoints and what it served are not; of a function that does not
  // exist: nothing.
  Result<void> remove(const std::string& name);

  // What serves from now on, on top of what served before. The revisions exist.
  Result<void> serve(const std::string& name, const Split& split);
  Result<Split> serving(const std::string& name);
  // Back to what served before the last put or serve; nothing when there is no such.
  Result<std::optional<Split>> step_back(const std::string& name);

  // The current revision of every function that exists, by name: of a split the heaviest.
  Result<std::vector<StoredFunction>> load();
  Result<std::optional<StoredFunction>> find(const std::string& name, int revision);
  Result<std::vector<StoredFunction>> revisions(const std::string& name);  // oldest first
  Result<int> next_revision(
      const std::string& name);  // 1 + the highest ever used, also after a delete

 private:
  WriteLoop& writer_;
};

}  // namespace glowplug::storage
