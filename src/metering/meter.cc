#include "metering/meter.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace glowplug::metering {
namespace {

constexpr policy::EvenSplit::Amount kNanoseconds = 1'000'000'000;

std::uint64_t byte_seconds_of(policy::EvenSplit::Amount byte_nanoseconds) {
  constexpr policy::EvenSplit::Amount kMost = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::uint64_t>(std::min(byte_nanoseconds / kNanoseconds, kMost));
}

domain::Price price_of(const domain::PriceTable& prices, const std::string& type) {
  const domain::DevicePrice* row = domain::find_price(prices, type);
  return row == nullptr ? domain::Price{} : row->price;
}

std::vector<domain::Money> rates_of(const std::vector<domain::Device>& fleet,
                                    const domain::PriceTable& prices) {
  std::vector<domain::Money> rates;
  for (const domain::Device& device : fleet)
    rates.push_back(price_of(prices, device.type).per_hour);
  return rates;
}

domain::Money sum_of(const std::vector<policy::DeviceShare>& shares) {
  domain::Money sum;
  for (const policy::DeviceShare& share : shares) sum.micros += share.cost.micros;
  return sum;
}

}  // namespace

Meter::Meter(const std::vector<domain::Device>& fleet, const domain::PriceTable& prices, Time start)
    : time_(rates_of(fleet, prices), start) {
  for (std::size_t i = 0; i < fleet.size(); ++i) {
    devices_.push_back({fleet[i].name, fleet[i].type, price_of(prices, fleet[i].type)});
    if (fleet[i].is_cpu()) cpu_ = {i};
  }
}

// --- processes ---

void Meter::started(const Started& started, Time now) {
  const auto [entry, is_new] = processes_.try_emplace(
      started.process,
      Process{.function = started.function,
              .devices = started.devices.empty() ? std::vector{cpu_} : started.devices,
              .memory = policy::EvenSplit(now, started.bytes)});
  if (is_new && !started.function.empty())
    functions_[started.function].processes.insert(started.process);
}

// What it held until now is what the function it leaves has held; a spare's is nobody's.
void Meter::leave_function(domain::ProcessId id, Process& process, Time now) {
  const policy::EvenSplit::Amount idle = process.memory.idle(now);
  const auto function = functions_.find(process.function);
  if (function != functions_.end()) {
    function->second.processes.erase(id);
    function->second.idle += idle - process.told;
  }
  process.told = idle;
}

void Meter::assigned(domain::ProcessId id, const std::string& function, Time now) {
  const auto process = processes_.find(id);
  if (process == processes_.end()) return;
  leave_function(id, process->second, now);
  process->second.function = function;
  functions_[function].processes.insert(id);
}

void Meter::measured(domain::ProcessId id, std::uint64_t bytes, Time now) {
  const auto process = processes_.find(id);
  if (process != processes_.end()) process->second.memory.set_rate(bytes, now);
}

// The gateway hears of it after us: what was in flight has ended with it.
void Meter::gone(domain::ProcessId id, Time now) {
  const auto process = processes_.find(id);
  if (process == processes_.end()) return;
  if (process->second.memory.is_held()) {
    std::vector<domain::CallId> left;
    for (const auto& [call, attempt] : attempts_)
      if (attempt.process == id && !attempt.has_ended) left.push_back({call});
    for (const domain::CallId call : left) ended(call, now);
  }
  leave_function(id, process->second, now);
  processes_.erase(process);
}

// --- calls ---

Meter::Attempt* Meter::attempt(domain::CallId call) {
  const auto found = attempts_.find(call.value);
  return found == attempts_.end() ? nullptr : &found->second;
}

void Meter::granted(domain::CallId call, domain::ProcessId id, int weight, Time now) {
  const auto process = processes_.find(id);
  if (process == processes_.end() || attempts_.contains(call.value)) return;
  attempts_.emplace(call.value, Attempt{.process = id,
                                        .holder = process->second.memory.join(weight, now),
                                        .device = process->second.devices.front()});
  time_.begin(call, process->second.devices, weight, now);
}

void Meter::end(domain::CallId call, Attempt& attempt, Time now) {
  if (std::exchange(attempt.has_ended, true)) return;
  attempt.shares = time_.end(call, now);
  const auto process = processes_.find(attempt.process);
  if (process != processes_.end())
    attempt.byte_seconds = byte_seconds_of(process->second.memory.leave(attempt.holder, now));
}

void Meter::settle(domain::CallId call, policy::Payer payer, Time now) {
  Attempt* const one = attempt(call);
  if (one == nullptr) return;
  end(call, *one, now);
  time_.settle(one->shares, payer);
  attempts_.erase(call.value);
}

void Meter::ended(domain::CallId call, Time now) {
  Attempt* const one = attempt(call);
  if (one == nullptr) return;
  if (one->is_claimed) return end(call, *one, now);
  settle(call, policy::Payer::Platform, now);
}

// --- requests ---

void Meter::claim(const std::string& request, domain::CallId call) {
  Attempt* const one = attempt(call);
  if (one == nullptr || std::exchange(one->is_claimed, true)) return;
  requests_[request].push_back(call);
}

domain::Money Meter::fee_of(const Attempt& attempt) const {
  return devices_.at(attempt.device.value).price.per_request;
}

domain::Money Meter::cost_so_far(const std::string& request, Time now) {
  const auto found = requests_.find(request);
  if (found == requests_.end()) return {};
  Attempt* const last = attempt(found->second.back());
  end(found->second.back(), *last, now);
  return {sum_of(last->shares).micros + fee_of(*last).micros};
}

void Meter::bill(const Attempt& attempt, domain::Receipt& receipt) const {
  for (const policy::DeviceShare& share : attempt.shares) {
    const Device& device = devices_.at(share.device.value);
    receipt.devices.push_back({.device = device.name,
                               .per_hour = device.price.per_hour,
                               .time = share.time,
                               .cost = share.cost});
  }
  receipt.fee_device = devices_.at(attempt.device.value).name;
  receipt.fee = fee_of(attempt);
  receipt.cost = {sum_of(attempt.shares).micros + receipt.fee.micros};
}

domain::Receipt Meter::close(const RequestEnd& end_of, Time now, WallTime at) {
  domain::Receipt receipt;
  receipt.request = end_of.request;
  receipt.function = end_of.function;
  receipt.at = at;
  auto tried = requests_.extract(end_of.request);
  if (!tried) return receipt;
  receipt.attempts = static_cast<int>(tried.mapped().size());
  for (const domain::CallId call : tried.mapped()) {
    Attempt& one = *attempt(call);
    end(call, one, now);
    receipt.byte_seconds += one.byte_seconds;
    const bool is_last = call == tried.mapped().back();
    const policy::Payer payer = is_last ? end_of.payer : policy::Payer::Platform;
    if (payer == policy::Payer::Caller)
      bill(one, receipt);
    else
      receipt.platform.micros += sum_of(one.shares).micros;
    settle(call, payer, now);
  }
  receipt.idle_byte_seconds = take_idle(end_of.function, now);
  return receipt;
}

std::uint64_t Meter::take_idle(const std::string& name, Time now) {
  const auto function = functions_.find(name);
  if (function == functions_.end()) return 0;
  policy::EvenSplit::Amount idle = std::exchange(function->second.idle, 0);
  for (const domain::ProcessId id : function->second.processes) {
    Process& process = processes_.at(id);
    const policy::EvenSplit::Amount all = process.memory.idle(now);
    idle += all - std::exchange(process.told, all);
  }
  if (function->second.processes.empty()) functions_.erase(function);
  return byte_seconds_of(idle);
}

std::vector<DeviceLedger> Meter::devices(Time now) const {
  std::vector<DeviceLedger> ledgers;
  for (std::size_t i = 0; i < devices_.size(); ++i)
    ledgers.push_back({.device = devices_[i].name,
                       .type = devices_[i].type,
                       .per_hour = devices_[i].price.per_hour,
                       .account = time_.account({i}, now)});
  return ledgers;
}

}  // namespace glowplug::metering
