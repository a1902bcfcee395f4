// Who pays for the time of each device, so that nothing is paid twice and nothing is left out:
//
//   Σ receipts + the platform's share + idle + what still runs = wall clock × price per hour
//
// exact to the micro-unit, for each device, at each moment. At each moment a device's time is split
// evenly over the calls in flight on it, by the slots that they weigh, over all of its replicas;
// with none in flight it is idle. A call that occupies several devices pays its part of each. Each
// amount is rounded down, and what that leaves is idle's.
//
//   begin ──▶ running ──end──▶ ended ──settle──▶ its caller's, or the platform's
//
// The platform pays for calls that its own faults broke and for attempts that became no result.
// Fees for requests are no part of it.
//
// Thread: one owner; pure, `now` is an argument.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/time_types.h"
#include "domain/device.h"
#include "domain/ids.h"
#include "domain/price.h"
#include "policy/even_split.h"

namespace glowplug::policy {

// What time of a device at this price costs, rounded down; at most what can be counted.
domain::Money cost_of_time(Duration time, domain::Money per_hour);

enum class Payer { Caller, Platform };

struct DeviceShare {
  domain::DeviceId device;
  Duration time{};
  domain::Money cost;
};

struct DeviceAccount {
  Duration wall{}, unused{};  // since the start; of it with no call in flight
  domain::Money wall_cost, callers, platform, running;
  domain::Money idle;  // what is left: unused, and what rounding left
};

class DeviceTime final {
 public:
  // Prices by the hour, one for each device of the fleet.
  DeviceTime(const std::vector<domain::Money>& per_hour, Time start);

  // Devices each once; a call that is known already is ignored.
  void begin(domain::CallId call, const std::vector<domain::DeviceId>& devices, int weight,
             Time now);
  // What it comes to, which is to be settled; nothing of a call that does not run.
  std::vector<DeviceShare> end(domain::CallId call, Time now);
  std::vector<DeviceShare> so_far(domain::CallId call, Time now) const;
  void settle(const std::vector<DeviceShare>& shares, Payer payer);

  std::size_t devices() const { return devices_.size(); }
  DeviceAccount account(domain::DeviceId device, Time now) const;

 private:
  struct Device {
    domain::Money per_hour;
    EvenSplit time;
    std::int64_t callers = 0, platform = 0, ended = 0;  // micros; ended = not settled yet
  };
  struct Holding {
    domain::DeviceId device;
    EvenSplit::Holder holder;
  };

  std::vector<Device> devices_;
  std::unordered_map<std::uint64_t, std::vector<Holding>> running_;  // by call
};

}  // namespace glowplug::policy
