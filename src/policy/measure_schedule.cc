#include "policy/measure_schedule.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace glowplug::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterReady = 500ms;  // its first caller waits meanwhile
constexpr Duration kEvery = 10s;
constexpr int kRest = 19;  // times as long as the last one took

// The one that is due first; there is one.
auto first_of(auto& processes) {
  return std::min_element(processes.begin(), processes.end(),
                          [](const auto& a, const auto& b) { return a.second.due < b.second.due; });
}

}  // namespace

void MeasureSchedule::add(domain::ProcessId process, Time now) {
  processes_[process] = {.due = now + kAfterReady};
}

void MeasureSchedule::note_answer(domain::ProcessId process, Time now) {
  const auto found = processes_.find(process);
  if (found == processes_.end() || std::exchange(found->second.answered, true)) return;
  found->second.due = std::min(found->second.due, now);
}

void MeasureSchedule::ask(domain::ProcessId process, Time now) {
  const auto found = processes_.find(process);
  if (found != processes_.end()) found->second.due = std::min(found->second.due, now);
}

void MeasureSchedule::remove(domain::ProcessId process) { processes_.erase(process); }

std::optional<domain::ProcessId> MeasureSchedule::take(Time now) {
  const std::optional<Time> at = next();
  if (!at || *at > now) return std::nullopt;
  const auto first = first_of(processes_);
  first->second.due = now + kEvery;
  out_ = first->first;
  return out_;
}

void MeasureSchedule::done(Time now, Duration took) {
  out_.reset();
  rests_until_ = now + took * kRest;
}

std::optional<Time> MeasureSchedule::next() const {
  if (out_ || processes_.empty()) return std::nullopt;
  return std::max(first_of(processes_)->second.due, rests_until_);
}

}  // namespace glowplug::policy
