#include "policy/device_time.h"

#include <algorithm>
#include <limits>

namespace glowplug::policy {
namespace {

constexpr std::int64_t kNanosecondsPerHour = 3'600'000'000'000;

Duration time_of(EvenSplit::Amount amount) {
  constexpr auto kMost = static_cast<EvenSplit::Amount>(std::numeric_limits<std::int64_t>::max());
  return Duration(static_cast<std::int64_t>(std::min(amount, kMost)));
}

}  // namespace

domain::Money cost_of_time(Duration time, domain::Money per_hour) {
  if (time <= Duration(0) || per_hour.micros <= 0) return {};
  const __int128 micros =
      static_cast<__int128>(time.count()) * per_hour.micros / kNanosecondsPerHour;
  constexpr __int128 kMost = std::numeric_limits<std::int64_t>::max();
  return {static_cast<std::int64_t>(std::min(micros, kMost))};
}

DeviceTime::DeviceTime(const std::vector<domain::Money>& per_hour, Time start) {
  for (const domain::Money price : per_hour)
    devices_.push_back({.per_hour = price, .time = EvenSplit(start)});
}

void DeviceTime::begin(domain::CallId call, const std::vector<domain::DeviceId>& devices,
                       int weight, Time now) {
  const auto [entry, is_new] = running_.try_emplace(call.value);
  if (!is_new) return;
  for (const domain::DeviceId id : devices)
    entry->second.push_back({id, devices_.at(id.value).time.join(weight, now)});
}

std::vector<DeviceShare> DeviceTime::so_far(domain::CallId call, Time now) const {
  std::vector<DeviceShare> shares;
  const auto found = running_.find(call.value);
  if (found == running_.end()) return shares;
  for (const Holding& one : found->second) {
    const Device& device = devices_.at(one.device.value);
    const Duration time = time_of(device.time.part(one.holder, now));
    shares.push_back({one.device, time, cost_of_time(time, device.per_hour)});
  }
  return shares;
}

std::vector<DeviceShare> DeviceTime::end(domain::CallId call, Time now) {
  std::vector<DeviceShare> shares;
  const auto found = running_.find(call.value);
  if (found == running_.end()) return shares;
  for (const Holding& one : found->second) {
    Device& device = devices_.at(one.device.value);
    const Duration time = time_of(device.time.leave(one.holder, now));
    shares.push_back({one.device, time, cost_of_time(time, device.per_hour)});
    device.ended += shares.back().cost.micros;
  }
  running_.erase(found);
  return shares;
}

void DeviceTime::settle(const std::vector<DeviceShare>& shares, Payer payer) {
  for (const DeviceShare& share : shares) {
    Device& device = devices_.at(share.device.value);
    device.ended -= share.cost.micros;
    (payer == Payer::Caller ? device.callers : device.platform) += share.cost.micros;
  }
}

DeviceAccount DeviceTime::account(domain::DeviceId id, Time now) const {
  const Device& device = devices_.at(id.value);
  DeviceAccount account{.wall = time_of(device.time.total(now)),
                        .unused = time_of(device.time.idle(now)),
                        .wall_cost = {},
                        .callers = {device.callers},
                        .platform = {device.platform},
                        .running = {device.ended},
                        .idle = {}};
  account.wall_cost = cost_of_time(account.wall, device.per_hour);
  for (const auto& [call, holdings] : running_)
    for (const Holding& one : holdings)
      if (one.device == id)
        account.running.micros +=
            cost_of_time(time_of(device.time.part(one.holder, now)), device.per_hour).micros;
  account.idle = {account.wall_cost.micros - account.callers.micros - account.platform.micros -
                  account.running.micros};
  return account;
}

}  // namespace glowplug::policy
