// The devices that the brain places replicas on: its ledger, and which engine may use which.
//
// A declared device is for every engine. One that is found is for the built-in engine, where that
// is built for GPUs; a foreign engine takes what it wants of it by itself, and is counted on this
// machine alone. The CPU is among them; its bytes are not in the ledger, because processes share
// them: Brain::reserved_bytes() counts those.
//
// Thread: one owner, the brain.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/device.h"
#include "domain/ids.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "policy/allocator.h"
#include "policy/device_ledger.h"

namespace glowplug::control {

struct DevicePoolOptions {
  std::vector<domain::Device> accelerators = {};
  std::uint64_t cpu_bytes = 0;
  bool engine_on_gpu = false;  // the built-in engine computes on those that are found
};

class DevicePool final {
 public:
  explicit DevicePool(const DevicePoolOptions& options);

  policy::DeviceLedger& ledger() { return ledger_; }
  const policy::DeviceLedger& ledger() const { return ledger_; }
  bool has_accelerators() const { return ledger_.fleet().size() > 1; }
  bool has_accelerators_for(const domain::Manifest& manifest) const;

  struct Want {
    const domain::Manifest& manifest;
    const domain::ModelFacts& facts;
    std::uint64_t bytes = 0;  // of a replica
    policy::Demand demand = policy::Demand::Usual;
  };
  // See policy::placements.
  Result<std::vector<policy::Placement>> placements(const Want& want) const;

  // CPU, or the accelerators of this replica.
  std::vector<std::string> names_of(domain::ProcessId replica) const;
  bool is_on_any(domain::ProcessId replica, const std::vector<domain::DeviceId>& devices) const;
  // What the engine may see of the GPUs that were found; none = all of them, empty = none of them.
  std::optional<std::string> visible_gpus(const domain::Manifest& manifest,
                                          const policy::Allocation* on) const;
  std::optional<Time> next_trial(Time now) const;

 private:
  const policy::UsableDevices& usable(const domain::Manifest& manifest) const;
  bool uses_found(const domain::Manifest& manifest) const;

  policy::DeviceLedger ledger_;
  bool engine_on_gpu_;
  std::size_t found_ = 0;                 // accelerators
  policy::UsableDevices all_, declared_;  // the latter with the CPU
};

bool is_cpu(const policy::Placement& placed);
std::string in_words(const policy::Placement& placed);  // "A100 x2"

}  // namespace glowplug::control
