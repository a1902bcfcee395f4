// What each function serves: deploys, checkpoints, splits and rollbacks, on the disk first, then
// told to the brain.
//
//   put, remove ──────────────┐             ┌──▶ FunctionStore, CheckpointStore
//   save, activate, traffic, ─┴▶ Rollouts ──┤
//   rollback                                └──▶ post(FunctionPut | TrafficSet | FunctionDeleted)
//
// A revision runs as it was declared, pinned by its checkpoint and with what was measured of it.
// Rollouts knows what was asked for; whether that serves already is the brain's to say. A
// checkpoint that is damaged is named in the log and in the list, and never told to the brain.
//
// Thread: the server loop.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "control/checkpoints.h"
#include "control/events.h"
#include "control/platform.h"
#include "domain/engine_settings.h"
#include "models/model_users.h"
#include "storage/checkpoint_store.h"
#include "storage/function_store.h"
#include "storage/write_loop.h"

namespace glowplug::app {

class Rollouts final : public control::Checkpoints {
 public:
  struct Parts {
    const Clock& clock;
    storage::WriteLoop& writer;
    models::ModelUsers& users;  // is told which model files are in use
    int cores = 1;              // of this machine: what was measured on others does not count
    std::function<void(control::Event)> post;
    std::function<std::optional<control::FunctionView>(const std::string& function)> view;
  };
  // As it was asked for, of a split the heaviest.
  struct Deployed {
    domain::Manifest manifest;  // as its owner declares it
    int revision = 0;
    bool alone = true;
    std::string sha256 = {};  // that its checkpoint pins it to
    std::optional<domain::TuneResult> tuned = {};
    domain::Manifest run_manifest() const;  // as its processes start
  };
  explicit Rollouts(Parts parts);

  Result<void> restore();  // posts what the store holds
  Result<control::PutOutcome> put(const domain::Manifest& manifest, std::optional<int> if_revision);
  Result<void> remove_function(const std::string& function);
  Result<void> must_exist(const std::string& function) const;
  const Deployed* deployed(const std::string& function) const;
  // What was measured of the revision that is deployed; stored, and not told to the brain.
  Result<void> keep_tuned(const std::string& function, const domain::TuneResult& result);

  Result<std::vector<control::CheckpointView>> list(const std::string& function) override;
  Result<control::CheckpointView> save(const std::string& function,
                                       std::optional<int> step) override;
  Result<void> remove(const std::string& function, int step) override;
  Result<std::vector<control::ServedView>> activate(const std::string& function, int step) override;
  Result<std::vector<control::ServedView>> set_traffic(
      const std::string& function, std::span<const domain::StepWeight> weights) override;
  Result<std::vector<control::ServedView>> roll_back(const std::string& function) override;

 private:
  struct Part {
    Deployed deployed;
    std::optional<int> step;
    int weight = 0;
  };

  Result<std::vector<control::CheckpointView>> read(const std::string& function);
  Result<control::CheckpointView> whole(const std::string& function, int step);
  // What serves of a split, the heaviest first; never empty.
  Result<std::vector<Part>> parts_of(const std::string& function, const storage::Split& split);
  std::optional<domain::TuneResult> tuned_of(const storage::StoredFunction& row) const;
  void note_models(const std::string& function, const std::vector<Part>& serving);
  Result<std::vector<control::ServedView>> serve(const std::string& function,
                                                 const storage::Split& split);
  Result<std::vector<control::ServedView>> tell(const std::string& function,
                                                const storage::Split& split);

  Parts parts_;
  storage::FunctionStore store_;
  storage::CheckpointStore checkpoints_;
  std::map<std::string, Deployed> deployed_;
};

}  // namespace glowplug::app
