// The jobs of one function that may start now, in the order in which they will: of the urgency
// whose turn it is (policy/job_order.h) the one that was accepted first.
//
// Whether a job still waits its record says; the line drops what does not when it comes to it.
//
// Thread: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/time_types.h"
#include "control/job_heap.h"
#include "control/job_table.h"
#include "domain/job.h"

namespace glowplug::control {

class JobLine final {
 public:
  explicit JobLine(std::uint32_t function) : function_(function) {}

  void add(domain::JobId job, const JobRecord& record, Time since);
  // Whose turn it is; he stays in the line.
  std::optional<domain::JobId> front(const JobTable& jobs, Time now);
  void start(const JobRecord& record);  // of the one in front
  // One that is over, or waits no longer; its record may be gone.
  void leave(domain::JobUrgency urgency, const JobTable& jobs);
  void clear();

  std::size_t waiting() const { return sides_[0].waiting + sides_[1].waiting; }
  std::uint64_t steps() const { return sides_[0].heap.steps() + sides_[1].heap.steps(); }

 private:
  struct Side {
    JobHeap<std::uint64_t> heap;
    std::size_t waiting = 0;
  };
  Side& side(domain::JobUrgency urgency) { return sides_[static_cast<std::size_t>(urgency)]; }
  bool waits(std::uint64_t job, domain::JobUrgency urgency, const JobTable& jobs) const;

  std::uint32_t function_;
  std::array<Side, 2> sides_;
  Time batch_since_{};  // while batch jobs wait
  int passed_by_ = 0;
};

}  // namespace glowplug::control
