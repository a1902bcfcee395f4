// What each device's memory is promised to, and which devices may be given a start.
//
//   predict ─▶ reserve ─▶ start ─▶ measure ─▶ correct ─▶ learn          release: it is gone
//   (memory_ledger.h)                         (here)     (memory_ledger.h)
//
// A replica is reserved the same number of bytes on each of its devices, all or nothing. Promised:
// what is reserved of a device is never more than it has. A process that turns out to need more
// than there is left is reserved what there is, and is owed the rest: until that is paid, from
// what others give back, its device takes nobody else.
//
// Health: kStartsFailedMax starts in a row that failed put a device into quarantine, for a time
// that doubles with each further failure. Then one start tries it, and its end decides. A failure
// says something of the device only where it is not the function's: another one failed there too,
// or it has been ready, on another device since or before it failed anywhere else. So a broken
// function does not take the devices away from the others.
// The CPU is never in quarantine.
//
// Thread: one owner; pure, `now` is an argument.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/time_types.h"
#include "domain/device.h"
#include "domain/ids.h"

namespace glowplug::policy {

inline constexpr int kStartsFailedMax = 3;
inline constexpr Duration kQuarantineFirst = std::chrono::seconds(30);
inline constexpr Duration kQuarantineMost = std::chrono::minutes(10);

struct Allocation {
  std::vector<domain::DeviceId> devices;  // each once
  std::uint64_t bytes_each = 0;
  friend bool operator==(const Allocation&, const Allocation&) = default;
};

class DeviceLedger final {
 public:
  // As each_alone() made it.
  explicit DeviceLedger(std::vector<domain::Device> fleet);

  const std::vector<domain::Device>& fleet() const { return fleet_; }
  const domain::Device& device(domain::DeviceId id) const { return fleet_.at(id.value); }

  std::uint64_t reserved(domain::DeviceId id) const;
  std::uint64_t free(domain::DeviceId id) const;  // 0 while somebody is owed
  std::vector<domain::ProcessId> holders(domain::DeviceId id) const;
  const Allocation* allocation(domain::ProcessId holder) const;  // null when it has none

  // False, and nothing is reserved, where one of the devices has too little.
  [[nodiscard]] bool reserve(domain::ProcessId holder, const Allocation& wanted);
  // It needs so many bytes on each of its devices from now on, or fewer.
  void correct(domain::ProcessId holder, std::uint64_t bytes_each);
  std::uint64_t owed(domain::DeviceId id) const;
  bool is_anybody_owed() const { return owing_ > 0; }
  void release(domain::ProcessId holder);

  // Of a holder's start. A failed one is released too; `has_been_ready`: the function was, once.
  struct FailedStart {
    std::string function;
    bool has_been_ready = false;
  };
  void start_succeeded(domain::ProcessId holder, const std::string& function, Time now);
  void start_failed(domain::ProcessId holder, const FailedStart& start, Time now);
  // Since the last start there that succeeded.
  bool has_failed_on(domain::DeviceId id, const std::string& function) const;
  int devices_failed_on(const std::string& function) const;

  domain::DeviceHealth health(domain::DeviceId id, Time now) const;
  bool takes_starts(domain::DeviceId id, Time now) const;
  int failed_starts(domain::DeviceId id) const;  // in a row
  std::optional<Time> quarantined_until(domain::DeviceId id, Time now) const;
  bool is_any_quarantined() const { return quarantined_ > 0; }  // or on trial

 private:
  struct Share {
    std::uint64_t wanted = 0, granted = 0;
  };
  struct State {
    std::map<domain::ProcessId, Share> shares;
    std::uint64_t granted = 0, owed = 0;  // the shares' sums
    int failed = 0;                       // starts in a row
    std::set<std::string> failed_for;     // these functions
    bool proven = false;                  // that one of these does start elsewhere
    bool was_ready = false;               // the last one, before
    int together = 1;                     // devices of its start
    Duration quarantine{};                // the last one's length
    std::optional<Time> until;
    std::optional<domain::ProcessId> trial;
  };
  State& state(domain::DeviceId id) { return states_.at(id.value); }
  const State& state(domain::DeviceId id) const { return states_.at(id.value); }
  void pay(domain::DeviceId id);
  void judge(domain::DeviceId id, Time now);

  std::vector<domain::Device> fleet_;
  std::vector<State> states_;
  std::map<domain::ProcessId, Allocation> allocations_;
  int owing_ = 0, quarantined_ = 0;  // devices
};

}  // namespace glowplug::policy
