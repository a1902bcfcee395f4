#include "control/process_counts.h"

namespace glowplug::control {
namespace {

ProcessCounts::Kind kind_of(const StartProcess& start) {
  const Place place = start.devices.empty() ? Place::Cpu : Place::Accelerator;
  if (start.role == Role::Template) return {ProcessKind::Template, place};
  if (start.role == Role::Measure) return {ProcessKind::Measure, place};
  return {start.spare ? ProcessKind::Spare : ProcessKind::Replica, place};
}

}  // namespace

void ProcessCounts::started(const StartProcess& start) {
  const Kind kind = kind_of(start);
  ++of(kind).started;
  running_.insert_or_assign(start.process, kind);
}

void ProcessCounts::not_started(const StartProcess& start) {
  const Kind kind = kind_of(start);
  ++of(kind).started;
  end(kind, domain::ExitReason::NotStarted);
}

void ProcessCounts::handed_over(domain::ProcessId spare) {
  const auto found = running_.find(spare);
  if (found == running_.end() || found->second.kind != ProcessKind::Spare) return;
  end(found->second, domain::ExitReason::HandedOver);
  found->second.kind = ProcessKind::Replica;
  ++of(found->second).started;
}

void ProcessCounts::ended(domain::ProcessId process, domain::ExitReason reason) {
  const auto found = running_.find(process);
  if (found == running_.end()) return;
  end(found->second, reason);
  running_.erase(found);
}

void ProcessCounts::standby_started() {
  ++of({ProcessKind::Standby, Place::Cpu}).started;
  ++standing_by_;
}

void ProcessCounts::standby_ended(domain::ExitReason reason) {
  end({ProcessKind::Standby, Place::Cpu}, reason);
  --standing_by_;
}

void ProcessCounts::end(Kind kind, domain::ExitReason reason) {
  ++of(kind).ended[static_cast<std::size_t>(reason)];
}

std::map<ProcessCounts::Kind, ProcessCounts::Count> ProcessCounts::all() const {
  std::map<Kind, Count> all = counts_;
  for (const auto& [process, kind] : running_) ++all[kind].running;
  if (standing_by_ > 0) all[{ProcessKind::Standby, Place::Cpu}].running = standing_by_;
  return all;
}

}  // namespace glowplug::control
