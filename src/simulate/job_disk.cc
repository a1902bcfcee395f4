#include "simulate/job_disk.h"

#include <utility>

#include "base/result.h"

namespace glowplug::simulate {

std::vector<JobWrite> JobDisk::sync() {
  for (const JobWrite& write : unsynced_) apply(write);
  return std::exchange(unsynced_, {});
}

void JobDisk::crash(std::size_t kept) {
  GLOWPLUG_ASSERT(kept <= unsynced_.size());
  for (std::size_t i = 0; i < kept; ++i) apply(unsynced_[i]);
  unsynced_.clear();
}

void JobDisk::apply(const JobWrite& write) {
  if (const auto* accepted = std::get_if<control::JobArrived>(&write)) {
    rows_[accepted->job.value] = {.accepted = *accepted};
    return;
  }
  const auto change = [this](const auto& told) -> JobRow& { return rows_.at(told.job.value); };
  if (const auto* start = std::get_if<control::StartAttempt>(&write)) {
    JobRow& row = change(*start);
    row.state = domain::JobState::InProgress;
    row.accepted.fence = start->fence;
    row.accepted.attempts = start->attempts;
  } else if (const auto* back = std::get_if<control::RequeueJob>(&write)) {
    JobRow& row = change(*back);
    row.state = domain::JobState::Queued;
    row.accepted.attempts = back->attempts;
    row.accepted.kills = back->kills;
    row.accepted.not_before = back->not_before;
  } else if (const auto* end = std::get_if<control::SettleJob>(&write)) {
    JobRow& row = change(*end);
    row.state = end->state;
    row.settled = *end;
    ++row.ends;
  }
}

}  // namespace glowplug::simulate
