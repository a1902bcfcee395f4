#include "control/job_line.h"

#include <algorithm>

#include "base/result.h"
#include "policy/job_order.h"

namespace glowplug::control {

using domain::JobId;
using domain::JobUrgency;

bool JobLine::waits(std::uint64_t job, JobUrgency urgency, const JobTable& jobs) const {
  const JobRecord* record = jobs.find({job});
  return record != nullptr && record->at == JobRecord::At::Ready && record->function == function_ &&
         record->urgency() == urgency;
}

void JobLine::add(JobId job, const JobRecord& record, Time since) {
  Side& to = side(record.urgency());
  to.heap.push(job.value);
  ++to.waiting;
  if (!record.batch) return;
  if (to.waiting == 1) {
    passed_by_ = 0;
    batch_since_ = since;
  }
  batch_since_ = std::min(batch_since_, since);
}

std::optional<JobId> JobLine::front(const JobTable& jobs, Time now) {
  const auto urgency = policy::next_urgency({.interactive = sides_[0].waiting > 0,
                                             .batch = sides_[1].waiting > 0,
                                             .batch_waits = now - batch_since_,
                                             .passed_by = passed_by_});
  if (!urgency) return {};
  Side& from = side(*urgency);
  from.heap.drop_dead_top([&](std::uint64_t job) { return waits(job, *urgency, jobs); });
  GLOWPLUG_ASSERT(!from.heap.empty());
  return JobId{from.heap.top()};
}

void JobLine::start(const JobRecord& record) {
  Side& from = side(record.urgency());
  from.heap.pop();
  --from.waiting;
  passed_by_ = record.batch ? 0 : std::min(passed_by_ + 1, policy::kBatchShare);
}

void JobLine::leave(JobUrgency urgency, const JobTable& jobs) {
  Side& from = side(urgency);
  --from.waiting;
  from.heap.compact(from.waiting, [&](std::uint64_t job) { return waits(job, urgency, jobs); });
}

void JobLine::clear() { sides_ = {}; }

}  // namespace glowplug::control
