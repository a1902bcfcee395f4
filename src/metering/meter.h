// What each call holds of devices and of memory, and what that costs: fed by the platform with the
// life of processes and calls, asked by whoever closes a request's account.
//
//   platform   started ▶ assigned ▶ measured ▶ gone           of processes
//              granted ▶ ended                                of calls
//   gateway    claim (this call is that request's) ▶ cost_so_far ▶ close ──▶ Receipt
//
// A request may be given to several replicas, one after the other: each is an attempt, a call of
// the platform's. The last one is its caller's where it was answered or cut off by its caller; all
// others are the platform's, and so is a call that no request has claimed by its end.
//
// Of memory a call holds its part of its replica's, by the slots that it weighs. What a function's
// processes hold while no call is there is told with its next receipt.
//
// Thread: the server loop. Reads no clock.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time_types.h"
#include "domain/device.h"
#include "domain/ids.h"
#include "domain/price.h"
#include "domain/receipt.h"
#include "policy/device_time.h"
#include "policy/even_split.h"

namespace glowplug::metering {

struct DeviceLedger {
  std::string device, type;
  domain::Money per_hour;
  policy::DeviceAccount account;
};

struct RequestEnd {
  const std::string& request;
  const std::string& function;
  policy::Payer payer = policy::Payer::Caller;  // of its last attempt
};

class Meter final {
 public:
  // The fleet as the brain numbers it: control/device_pool.h. What has no price costs nothing.
  Meter(const std::vector<domain::Device>& fleet, const domain::PriceTable& prices, Time start);

  struct Started {
    domain::ProcessId process;
    std::string function;                   // empty: nobody's yet
    std::vector<domain::DeviceId> devices;  // none = the CPU
    std::uint64_t bytes = 0;                // reserved
  };
  void started(const Started& process, Time now);
  void assigned(domain::ProcessId process, const std::string& function, Time now);
  void measured(domain::ProcessId process, std::uint64_t bytes, Time now);
  void gone(domain::ProcessId process, Time now);

  void granted(domain::CallId call, domain::ProcessId process, int weight, Time now);
  void ended(domain::CallId call, Time now);  // also of one that is not known

  // This call is an attempt at that request; an earlier one of it has failed.
  void claim(const std::string& request, domain::CallId call);
  // Nothing more is done for it: what it owes if it is its caller's, which close() then finds.
  domain::Money cost_so_far(const std::string& request, Time now);
  // Its account is over; of a request that has claimed nothing the receipt owes nothing. What the
  // call itself has come to, its caller fills in.
  domain::Receipt close(const RequestEnd& end, Time now, WallTime at);

  std::vector<DeviceLedger> devices(Time now) const;
  std::size_t open_requests() const { return requests_.size(); }

 private:
  struct Device {
    std::string name, type;
    domain::Price price;
  };
  struct Process {
    std::string function;
    std::vector<domain::DeviceId> devices;
    policy::EvenSplit memory;
    policy::EvenSplit::Amount told = 0;  // of what it held idle, with receipts
  };
  struct Attempt {
    domain::ProcessId process;
    policy::EvenSplit::Holder holder;
    domain::DeviceId device;  // the first one, whose fee it is
    bool is_claimed = false, has_ended = false;
    std::vector<policy::DeviceShare> shares;  // once it has ended
    std::uint64_t byte_seconds = 0;
  };
  struct Function {
    std::set<domain::ProcessId> processes;
    policy::EvenSplit::Amount idle = 0;  // of those that are gone, not told yet
  };
  using Attempts = std::unordered_map<std::uint64_t, Attempt>;  // by call

  Attempt* attempt(domain::CallId call);
  void end(domain::CallId call, Attempt& attempt, Time now);
  void settle(domain::CallId call, policy::Payer payer, Time now);
  void leave_function(domain::ProcessId id, Process& process, Time now);
  std::uint64_t take_idle(const std::string& function, Time now);
  domain::Money fee_of(const Attempt& attempt) const;
  void bill(const Attempt& attempt, domain::Receipt& receipt) const;

  std::vector<Device> devices_;
  domain::DeviceId cpu_;
  policy::DeviceTime time_;
  std::map<domain::ProcessId, Process> processes_;
  std::map<std::string, Function, std::less<>> functions_;  // that have, or had, processes
  Attempts attempts_;
  std::unordered_map<std::string, std::vector<domain::CallId>> requests_;  // their attempts
};

}  // namespace glowplug::metering
