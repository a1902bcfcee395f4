#include "policy/device_ledger.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/result.h"

namespace glowplug::policy {

using domain::DeviceHealth;
using domain::DeviceId;
using domain::ProcessId;

DeviceLedger::DeviceLedger(std::vector<domain::Device> fleet)
    : fleet_(std::move(fleet)), states_(fleet_.size()) {}

std::uint64_t DeviceLedger::reserved(DeviceId id) const { return state(id).granted; }

std::uint64_t DeviceLedger::owed(DeviceId id) const { return state(id).owed; }

std::uint64_t DeviceLedger::free(DeviceId id) const {
  const State& held = state(id);
  return held.owed > 0 ? 0 : device(id).memory_bytes - held.granted;
}

std::vector<ProcessId> DeviceLedger::holders(DeviceId id) const {
  std::vector<ProcessId> list;
  for (const auto& [holder, share] : state(id).shares) list.push_back(holder);
  return list;
}

const Allocation* DeviceLedger::allocation(ProcessId holder) const {
  const auto found = allocations_.find(holder);
  return found == allocations_.end() ? nullptr : &found->second;
}

bool DeviceLedger::reserve(ProcessId holder, const Allocation& wanted) {
  GLOWPLUG_ASSERT(!allocations_.contains(holder));
  GLOWPLUG_ASSERT(std::set<DeviceId>(wanted.devices.begin(), wanted.devices.end()).size() ==
                  wanted.devices.size());
  for (const DeviceId id : wanted.devices)
    if (state(id).owed > 0 || wanted.bytes_each > free(id)) return false;
  for (const DeviceId id : wanted.devices) {
    State& held = state(id);
    held.shares[holder] = {wanted.bytes_each, wanted.bytes_each};
    held.granted += wanted.bytes_each;
    if (held.until) held.trial = holder;
  }
  allocations_[holder] = wanted;
  return true;
}

void DeviceLedger::correct(ProcessId holder, std::uint64_t bytes_each) {
  const auto found = allocations_.find(holder);
  if (found == allocations_.end()) return;
  found->second.bytes_each = bytes_each;
  for (const DeviceId id : found->second.devices) {
    state(id).shares.at(holder).wanted = bytes_each;
    pay(id);
  }
}

// Takes back what nobody wants any more, and gives it to whoever is owed, the oldest first.
void DeviceLedger::pay(DeviceId id) {
  State& held = state(id);
  owing_ -= held.owed > 0 ? 1 : 0;
  std::uint64_t left = device(id).memory_bytes;
  for (auto& [holder, share] : held.shares) {
    share.granted = std::min(share.granted, share.wanted);
    left -= share.granted;
  }
  held.owed = 0;
  for (auto& [holder, share] : held.shares) {
    const std::uint64_t more = std::min(left, share.wanted - share.granted);
    share.granted += more;
    left -= more;
    held.owed += share.wanted - share.granted;
  }
  held.granted = device(id).memory_bytes - left;
  owing_ += held.owed > 0 ? 1 : 0;
}

void DeviceLedger::release(ProcessId holder) {
  const auto gone = allocations_.extract(holder);
  if (!gone) return;
  for (const DeviceId id : gone.mapped().devices) {
    State& held = state(id);
    held.shares.erase(holder);
    if (held.trial == holder) held.trial.reset();
    pay(id);
  }
}

void DeviceLedger::start_succeeded(ProcessId holder, const std::string& function, Time now) {
  const Allocation* on = allocation(holder);
  if (on == nullptr) return;
  for (const DeviceId id : on->devices) {
    State& held = state(id);
    held.failed = 0;
    held.failed_for.clear();
    held.proven = held.was_ready = false;
    held.quarantine = Duration(0);
    quarantined_ -= held.until ? 1 : 0;
    held.until.reset();
    held.trial.reset();
  }
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (!has_failed_on({i}, function)) continue;
    states_[i].proven = true;
    judge({i}, now);
  }
}

void DeviceLedger::start_failed(ProcessId holder, const FailedStart& start, Time now) {
  const Allocation* on = allocation(holder);
  if (on == nullptr) return;
  const std::vector<DeviceId> devices = on->devices;
  for (const DeviceId id : devices) {
    if (device(id).is_cpu()) continue;
    State& held = state(id);
    ++held.failed;
    held.failed_for.insert(start.function);
    held.was_ready = start.has_been_ready;
    held.together = static_cast<int>(devices.size());
  }
  for (const DeviceId id : devices) judge(id, now);
  release(holder);
}

// Into quarantine, where its failures are its own and it is not there yet.
void DeviceLedger::judge(DeviceId id, Time now) {
  State& held = state(id);
  const bool lasts = held.until && now < *held.until;
  if (held.failed < kStartsFailedMax || lasts) return;
  const bool nowhere_else = devices_failed_on(*held.failed_for.begin()) <= held.together;
  if (!held.proven && held.failed_for.size() == 1 && !(held.was_ready && nowhere_else)) return;
  held.quarantine = std::clamp(held.quarantine * 2, kQuarantineFirst, kQuarantineMost);
  quarantined_ += held.until ? 0 : 1;
  held.until = now + held.quarantine;
}

bool DeviceLedger::has_failed_on(DeviceId id, const std::string& function) const {
  return state(id).failed_for.contains(function);
}

int DeviceLedger::devices_failed_on(const std::string& function) const {
  return static_cast<int>(std::count_if(states_.begin(), states_.end(), [&](const State& one) {
    return one.failed_for.contains(function);
  }));
}

DeviceHealth DeviceLedger::health(DeviceId id, Time now) const {
  const State& held = state(id);
  if (!held.until) return DeviceHealth::Healthy;
  return now < *held.until ? DeviceHealth::Quarantined : DeviceHealth::OnTrial;
}

bool DeviceLedger::takes_starts(DeviceId id, Time now) const {
  const DeviceHealth now_is = health(id, now);
  return now_is == DeviceHealth::Healthy ||
         (now_is == DeviceHealth::OnTrial && !state(id).trial.has_value());
}

int DeviceLedger::failed_starts(DeviceId id) const { return state(id).failed; }

std::optional<Time> DeviceLedger::quarantined_until(DeviceId id, Time now) const {
  return health(id, now) == DeviceHealth::Quarantined ? state(id).until : std::nullopt;
}

}  // namespace glowplug::policy
