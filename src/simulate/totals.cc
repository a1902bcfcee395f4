#include "simulate/totals.h"

#include <algorithm>
#include <cmath>

#include "policy/cost.h"
#include "simulate/seconds.h"

namespace glowplug::simulate {
namespace {

constexpr std::size_t kSpansMax = 512;

// As calls one after the other that have the device alone, and together come to what was held of
// it.
Result<domain::Money> held_for(double seconds, const domain::Price& price) {
  const auto calls = static_cast<std::int64_t>(seconds / 3600) + 1;
  const auto held = policy::estimate_cost(
      {.per_hour = price.per_hour},
      {.requests_per_day = calls, .mean_time = from_seconds(seconds / static_cast<double>(calls))});
  if (!held) return held.error();
  return held->daily_compute_cost;
}

}  // namespace

std::uint64_t Figures::refusals() const {
  std::uint64_t all = 0;
  for (const auto& [code, count] : refused) all += count;
  return all;
}

Series::Span& Totals::span_at(Time at) {
  Series& series = figures_.series;
  auto number = static_cast<std::size_t>((at - beginning_) / series.length);
  while (number >= kSpansMax) {
    halve();
    number = static_cast<std::size_t>((at - beginning_) / series.length);
  }
  if (number >= series.spans.size()) series.spans.resize(number + 1);
  return series.spans[number];
}

// Two spans become one.
void Totals::halve() {
  Series& series = figures_.series;
  std::vector<Series::Span> merged((series.spans.size() + 1) / 2);
  for (std::size_t i = 0; i < series.spans.size(); ++i) {
    const Series::Span& from = series.spans[i];
    Series::Span& into = merged[i / 2];
    into.calls += from.calls;
    into.cold += from.cold;
    into.refused += from.refused;
    into.reserved_byte_s += from.reserved_byte_s;
    into.replica_s += from.replica_s;
    into.template_s += from.template_s;
    into.device_s += from.device_s;
  }
  series.spans = std::move(merged);
  series.length *= 2;
}

// What was held since the last turn, span by span.
void Totals::pass(Time now) {
  while (at_ < now) {
    Series::Span& span = span_at(at_);
    const Duration length = figures_.series.length;
    const Time end = std::min(now, beginning_ + ((at_ - beginning_) / length + 1) * length);
    const double seconds = to_seconds(end - at_);
    span.reserved_byte_s += static_cast<double>(reserved_) * seconds;
    span.replica_s += replicas_ * seconds;
    span.template_s += templates_ * seconds;
    figures_.reserved_byte_s += static_cast<double>(reserved_) * seconds;
    figures_.replica_s += replicas_ * seconds;
    figures_.template_s += templates_ * seconds;
    figures_.machine_byte_s +=
        static_cast<double>(reserved_ - std::min(reserved_, on_devices_)) * seconds;
    span.device_s += devices_used_ * seconds;
    for (const auto& [type, devices] : used_) type->device_s += devices * seconds;
    at_ = end;
  }
}

Totals::Totals(Time beginning, const Machine& machine) : beginning_(beginning), at_(beginning) {
  for (const domain::Device& device : domain::each_alone(machine.devices)) {
    Figures::DeviceUse& use = figures_.devices[device.type];
    ++use.there;
    fleet_.push_back({.of = &use});
  }
}

// One holder more or less of this device.
void Totals::use(domain::DeviceId id, int more, const control::Brain& brain) {
  InUse& device = fleet_.at(id.value);
  const bool before = device.holders > 0;
  device.holders += more;
  const int change = static_cast<int>(device.holders > 0) - static_cast<int>(before);
  devices_used_ += change;
  device.of->most = std::max(device.of->most, used_[device.of] += change);
  on_devices_ -= device.reserved;
  device.reserved = brain.device_ledger().reserved(id);
  on_devices_ += device.reserved;
}

void Totals::started(const control::StartProcess& start, const control::Brain& brain) {
  processes_.emplace(start.process.value, start.role);
  const bool is_template = start.role == control::Role::Template;
  ++(is_template ? templates_ : replicas_);
  ++(is_template   ? figures_.templates
     : start.spare ? figures_.spares
     : start.from  ? figures_.forked
                   : figures_.executed);
  if (start.devices.empty()) return;
  for (const domain::DeviceId id : start.devices) use(id, 1, brain);
  places_.emplace(start.process.value, start.devices);
}

void Totals::gone(const control::ProcessGone& event, const control::Brain& brain) {
  const auto found = processes_.find(event.process.value);
  if (found == processes_.end()) return;
  --(found->second == control::Role::Template ? templates_ : replicas_);
  processes_.erase(found);
  figures_.crashed += event.ending != control::Ending::Asked ? 1 : 0;
  const auto placed = places_.find(event.process.value);
  if (placed == places_.end()) return;
  for (const domain::DeviceId id : placed->second) use(id, -1, brain);
  places_.erase(placed);
}

void Totals::turned(const Turn& turn) {
  ++turns_;
  pass(turn.now);
  if (const auto* event = std::get_if<control::ProcessGone>(&turn.event)) gone(*event, turn.brain);
  if (std::holds_alternative<control::ReplicaAwake>(turn.event)) ++figures_.woken;
  for (const control::Effect& effect : turn.effects.list) {
    if (const auto* start = std::get_if<control::StartProcess>(&effect)) {
      started(*start, turn.brain);
    } else if (std::holds_alternative<control::AssignReplica>(effect)) {
      ++figures_.handed_over;
    } else if (const auto* decision = std::get_if<control::Decision>(&effect)) {
      figures_.evicted += decision->reason.find(": evicted: ") != std::string::npos ? 1 : 0;
    }
  }
  if (const auto* measured = std::get_if<control::MemoryMeasured>(&turn.event))
    if (const auto placed = places_.find(measured->process.value); placed != places_.end())
      for (const domain::DeviceId id : placed->second) use(id, 0, turn.brain);
  reserved_ = turn.reserved_bytes;
  figures_.reserved_most = std::max(figures_.reserved_most, reserved_);
  figures_.replicas_most = std::max(figures_.replicas_most, replicas_);
}

void Totals::call_ended(const CallResult& result) {
  ++figures_.calls;
  figures_.clamped += result.clamped ? 1 : 0;
  Series::Span& span = span_at(result.arrived);
  ++span.calls;
  switch (result.outcome) {
    case CallOutcome::Answered: ++figures_.answered; break;
    case CallOutcome::Broken: ++figures_.broken; break;
    case CallOutcome::TimedOut: ++figures_.timed_out; break;
    case CallOutcome::Left: ++figures_.left; break;
    case CallOutcome::Refused:
      ++figures_.refused[result.error];
      ++span.refused;
      break;
  }
  if (result.granted) {
    figures_.wait.add(*result.granted - result.arrived);
    if (result.cold) {
      ++figures_.cold;
      ++figures_.cold_from[static_cast<std::size_t>(result.tier)];
      ++span.cold;
    }
    figures_.waited_for_starts += result.start_wait;
  }
  if (result.first_token) figures_.first_token.add(*result.first_token - result.arrived);
  if (result.outcome == CallOutcome::Answered) {
    if (result.device) ++fleet_.at(result.device->value).of->answered;
    figures_.prompt_tokens += static_cast<std::uint64_t>(result.prompt_tokens);
    figures_.output_tokens += static_cast<std::uint64_t>(result.output_tokens);
  }
}

void Totals::end(Time now, double busy_core_seconds) {
  pass(now);
  figures_.length = now - beginning_;
  figures_.busy_core_s = busy_core_seconds;
}

double device_seconds(const Figures& figures, const Machine& machine) {
  double all = machine_seconds(figures, machine);
  for (const auto& [type, use] : figures.devices) all += use.device_s;
  return all;
}

Result<Bill> bill_of(const Figures& figures, const WorldModel& model) {
  Bill bill;
  const auto add = [&bill, &model](const std::string& device, double seconds,
                                   std::uint64_t answered) -> Result<void> {
    const auto row = policy::price_of(model.prices, device);
    if (!row) return row.error();
    const auto held = held_for(seconds, row->price);
    if (!held) return held.error();
    bill.held.micros += held->micros;
    bill.fees.micros += row->price.per_request.micros * static_cast<std::int64_t>(answered);
    return {};
  };
  std::uint64_t elsewhere = 0;
  for (const auto& [type, use] : figures.devices) {
    elsewhere += use.answered;
    if (const auto added = add(type, use.device_s, use.answered); !added) return added.error();
  }
  const auto added = add(model.machine.device, machine_seconds(figures, model.machine),
                         figures.answered - elsewhere);
  if (!added) return added.error();
  bill.total.micros = bill.held.micros + bill.fees.micros;
  return bill;
}

}  // namespace glowplug::simulate
