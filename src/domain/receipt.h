// What one call came to: what it did, what it held meanwhile, and who pays what for it.
//
// Its caller owes `cost`: its part of the time of each device (policy/device_time.h) and the fee
// for a request. What our own faults made of it, and attempts that became no result, are
// `platform`'s. Amounts are whole micro-units, bytes are held for seconds.
//
// Thread: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time_types.h"
#include "domain/job.h"
#include "domain/phase.h"
#include "domain/price.h"

namespace glowplug::domain {

// How a call ended, for its row: a job's state, or one of these of a call that was waited for.
namespace call_end {
inline constexpr std::string_view kCompleted = "completed";
inline constexpr std::string_view kFailed = "failed";
inline constexpr std::string_view kCancelled = "cancelled";
inline constexpr std::string_view kLost = "lost";  // the server ended while it ran: nobody pays
}  // namespace call_end

struct DeviceLine {
  std::string device;  // its name, as A10G:0
  Money per_hour;
  Duration time{};  // its part
  Money cost;
  friend bool operator==(const DeviceLine&, const DeviceLine&) = default;
};

struct Receipt {
  std::string request;  // req_…, or as the job is called
  std::optional<JobId> job;
  std::string function;
  int revision = 0;
  std::string key;  // that its caller gave; empty = none
  WallTime at{};    // of its end
  std::string terminal;
  int status = 0;  // of HTTP; 0 = none
  int attempts = 0;
  bool cold = false;
  PhaseTimes phases;
  std::uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  std::uint64_t byte_seconds = 0;  // of memory that was held for it
  // For information: what its function held, since its last receipt, while no call was there to
  // hold it for: a template, a replica that starts or is kept warm.
  std::uint64_t idle_byte_seconds = 0;
  std::vector<DeviceLine> devices;  // that its caller pays
  std::string fee_device;           // whose fee it is; empty = none
  Money fee;
  Money cost;      // devices and fee
  Money platform;  // for attempts that became no result, and what our own faults broke
};

}  // namespace glowplug::domain
