// Checkpoints of functions and the traffic between them, as the gateway sees them; a part of
// Platform.
//
// A checkpoint is a saved state of a function under a number: its revision, the weights by digest,
// the settings, and the prompts that it primes. Saving one pins its revision to that digest: from
// then on this revision means those bytes. What serves changes by activate, set_traffic, roll_back
// and by a deploy; each is on the disk before it happens, starts what is new first, and lets what
// is old finish its calls.
//
// Thread: the server loop.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/checkpoint.h"
#include "domain/manifest.h"

namespace glowplug::control {

struct PromptReference {
  std::string sha256;
  std::uint64_t bytes = 0;
};

struct CheckpointView {
  int step = 0;
  int revision = 0;
  WallTime created{};
  domain::Manifest manifest;             // pinned to the digest; empty when damaged
  std::vector<PromptReference> prompts;  // that it primes
  int weight = 0;                        // of 100, as asked for; 0 = it does not serve
  std::string damage;                    // why it can never serve; empty when it was verified
};

struct ServedView {
  int revision = 0;
  std::optional<int> step;  // the latest checkpoint of it
  int weight = 0;
};

class Checkpoints {
 public:
  virtual ~Checkpoints() = default;

  // Errors of all: model_not_found (no such function), storage_failed, disk_full. Of those with a
  // step: not_found, and checkpoint_conflict when it is damaged.
  virtual Result<std::vector<CheckpointView>> list(const std::string& function) = 0;
  // What serves now, of a split the heaviest. Without a step the next multiple of ten.
  // checkpoint_conflict when the step exists, when kCheckpointsMax do, and while the model's digest
  // is unknown.
  virtual Result<CheckpointView> save(const std::string& function, std::optional<int> step) = 0;
  virtual Result<void> remove(const std::string& function, int step) = 0;  // not while it serves

  // These three give what serves from now on, or once it is ready.
  virtual Result<std::vector<ServedView>> activate(const std::string& function, int step) = 0;
  virtual Result<std::vector<ServedView>> set_traffic(
      const std::string& function, std::span<const domain::StepWeight> weights) = 0;  // sum to 100
  // To what served before the last of these or the last deploy; again: further back.
  virtual Result<std::vector<ServedView>> roll_back(const std::string& function) = 0;
};

}  // namespace glowplug::control
