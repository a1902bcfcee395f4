// Jobs, their clients, a disk and replicas around the job machine, in virtual time: a driver of it
// that crashes at any write and starts again from what the disk has kept. Everything that happens
// comes from a seed.
//
// While there is trouble, attempts fail, find no capacity, kill their replica, say nothing, answer
// twice, or answer after they were stopped; jobs are cancelled, functions resized and removed, the
// server drained. Then it ends, and what was accepted must come to its end.
//
// Thread: one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/time_types.h"
#include "control/job_queue.h"
#include "domain/job.h"

namespace glowplug::simulate {

// The job machine, or one that is broken on purpose.
class JobMachine {
 public:
  virtual ~JobMachine() = default;
  virtual control::JobEffects handle(const control::JobEvent& event, Time now) = 0;
};
using MakeJobMachine = std::function<std::unique_ptr<JobMachine>(std::uint64_t seed)>;
std::unique_ptr<JobMachine> job_queue_machine(std::uint64_t seed);

struct JobWorldOptions {
  std::uint64_t seed = 1;
  int jobs = 24, crashes = 10;               // crashes: at most
  bool restart_forgets_in_progress = false;  // a driver that is wrong
};

struct JobWorldResult {
  std::optional<std::string> violation;
  int crashes = 0, accepted = 0, starts = 0, fenced = 0;
  std::map<domain::JobState, int> ends;
  int dead_letters = 0;
};
JobWorldResult play_jobs(const JobWorldOptions& options, const MakeJobMachine& make);

}  // namespace glowplug::simulate
