// Which devices a replica gets: by the size of its model, unless its manifest names them.
//
//   weights up to 7 GB     one T4              a function of unknown size counts as 7 GB
//   up to 30 GB            one A10G            (what its owner declares stands for its size)
//   more                   two A100
//
// That is what is preferred. Where the type is not there, its devices are too small or taken, the
// next one that fits is: the smallest first, one device before two. A function that is called
// rarely goes to the smallest device that fits. The CPU is taken where it is asked for, or where no
// accelerator can hold the function at all. On the chosen type the fullest device that has room is
// taken, so that large rooms stay whole. GB = 10^9 bytes.
//
// Thread: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "domain/device.h"
#include "domain/device_wish.h"
#include "policy/device_ledger.h"

namespace glowplug::policy {

inline constexpr std::uint64_t kGigabyte = 1'000'000'000;
inline constexpr std::uint64_t kSmallModelMax = 7 * kGigabyte;
inline constexpr std::uint64_t kMediumModelMax = 30 * kGigabyte;
inline constexpr std::uint64_t kUnknownModel = kSmallModelMax;

struct DeviceRule {
  std::string_view type;
  int count = 1;
  friend bool operator==(const DeviceRule&, const DeviceRule&) = default;
};
DeviceRule device_rule(std::uint64_t weight_bytes);

enum class Demand { Usual, Rare };

// How often a function is called. It counts as rarely called with fewer than kRareCalls calls in
// this window and the last one, and is known for a window at least.
inline constexpr int kRareCalls = 4;
inline constexpr Duration kRareWindow = std::chrono::hours(1);
class CallRate final {
 public:
  void begin(Time now);  // once it is deployed; later ones change nothing
  void note_call(Time now);
  Demand demand(Time now) const;

 private:
  std::optional<Time> since_;
  std::int64_t window_ = 0;  // of the last call, counted from since_
  int calls_ = 0, before_ = 0;
};

struct DeviceAsk {
  std::string function;
  std::uint64_t weight_bytes = 0;  // 0 = not known
  std::uint64_t bytes = 0;         // that a replica takes of its devices' memory, together
  domain::DeviceWish wish = {};
  Demand demand = Demand::Usual;
};

// Those of a fleet that an engine can use at all, grouped once: a fleet may have thousands.
struct UsableDevices {
  // Devices that can stand for each other.
  struct Kind {
    std::string type;
    std::uint64_t memory_bytes = 0;
    std::vector<domain::DeviceId> devices;
  };
  std::vector<domain::DeviceId> all;              // in the order of the fleet
  std::vector<Kind> accelerators = {}, cpu = {};  // the smallest first
};
UsableDevices usable_devices(std::span<const domain::Device> fleet,
                             std::vector<domain::DeviceId> ids);

// Devices alike that could hold a replica, when they are free.
struct Placement {
  std::string type;
  std::uint64_t memory_bytes = 0;  // of each such device
  int count = 1;                   // that hold it together, in equal parts
  std::uint64_t bytes_each = 0;
  std::string reason;                     // in words, with its numbers
  std::vector<domain::DeviceId> devices;  // `count` of these
  friend bool operator==(const Placement&, const Placement&) = default;
};

// All that could hold it, the preferred one first; never empty. Errors: does_not_fit, which names
// the largest device; unsupported_value where the wish names what is not there.
Result<std::vector<Placement>> placements(const DeviceAsk& ask,
                                          std::span<const domain::Device> fleet,
                                          const UsableDevices& usable);

// How many replicas it has room for now.
std::uint64_t room_for(const Placement& placement, const DeviceLedger& ledger, Time now);

struct Chosen {
  std::size_t placement = 0;  // which of them
  Allocation allocation;
  std::string reason;  // of the placement, and why these devices
};

// The first placement with room now; none when all devices are full, or in quarantine. Where the
// function has not failed to start comes first.
std::optional<Chosen> choose_devices(const std::string& function,
                                     std::span<const Placement> placements,
                                     const DeviceLedger& ledger, Time now);

}  // namespace glowplug::policy
