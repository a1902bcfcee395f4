// Room on devices: what is free there or will be, and what idle replicas would have to stop for
// more. It stops nothing: brain_devices.cc does.
//
// Thread: the brain's; refers to what it is made of, and lives for a call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/time_types.h"
#include "control/brain_state.h"
#include "domain/device.h"
#include "domain/ids.h"
#include "policy/allocator.h"
#include "policy/device_ledger.h"
#include "policy/evictor.h"

namespace glowplug::control {

class DeviceRoom final {
 public:
  using Replicas = std::map<domain::ProcessId, BrainState::Replica>;
  using Worth = std::function<policy::Kept(const BrainState::ReplicaEntry&)>;
  using MayGo = std::function<bool(const BrainState::ReplicaEntry&)>;  // of one that rests
  DeviceRoom(const policy::DeviceLedger& ledger, const Replicas& replicas, MayGo may_go,
             Worth worth, Time now)
      : ledger_(ledger),
        replicas_(replicas),
        may_go_(std::move(may_go)),
        worth_(std::move(worth)),
        now_(now) {}

  // Enough of its devices have the room, or will once the answers are over for which no new call is
  // taken.
  bool comes_free(const policy::Placement& place) const;
  // As many of its devices as it takes, those that come nearest to holding it.
  std::vector<domain::DeviceId> nearest(const policy::Placement& place) const;
  // What is idle and would have to stop for so many bytes on this device: none where enough is on
  // its way already; nothing where all of it is not enough.
  std::optional<std::vector<domain::ProcessId>> in_the_way(domain::DeviceId id,
                                                           std::uint64_t bytes) const;
  // The same for as many of its devices as it takes, those where the fewest have to stop; of equals
  // the first. Fewer than it takes where there is no way.
  std::vector<std::vector<domain::ProcessId>> ways_to_make_room(
      const policy::Placement& place) const;

 private:
  std::uint64_t coming_free(domain::DeviceId id) const;
  // What is free, or leaves with nothing to do first; visits what may stop, with its share of
  // bytes.
  template <typename Visit>
  std::uint64_t free_unless_stopped(domain::DeviceId id, const Visit& visit) const;
  std::optional<std::size_t> fewest_in_the_way(domain::DeviceId id, std::uint64_t bytes) const;

  const policy::DeviceLedger& ledger_;
  const Replicas& replicas_;
  MayGo may_go_;
  Worth worth_;
  Time now_;
};

}  // namespace glowplug::control
