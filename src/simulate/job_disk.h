// A modelled disk for jobs: writes are a log, of which everything up to the last sync is safe. A
// crash keeps that and any number of the writes after it, in their order.
//
// It believes what it is told: a job that ends twice has two ends here, for the checker to find.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "control/job_queue.h"

namespace glowplug::simulate {

struct JobRow {
  control::JobArrived accepted;  // brought up to date by what has happened since
  domain::JobState state = domain::JobState::Queued;
  control::SettleJob settled = {};
  int ends = 0;  // a usage row each
};
using JobWrite = std::variant<control::JobArrived, control::StartAttempt, control::RequeueJob,
                              control::SettleJob>;

class JobDisk final {
 public:
  void write(JobWrite write) { unsynced_.push_back(std::move(write)); }
  std::size_t unsynced() const { return unsynced_.size(); }
  std::vector<JobWrite> sync();  // what has become safe
  void crash(std::size_t kept);  // of what was not

  const std::map<std::uint64_t, JobRow>& rows() const { return rows_; }  // what readers see

 private:
  void apply(const JobWrite& write);

  std::map<std::uint64_t, JobRow> rows_;
  std::vector<JobWrite> unsynced_;
};

}  // namespace glowplug::simulate
