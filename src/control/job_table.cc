#include "control/job_table.h"

#include <utility>

#include "base/result.h"

namespace glowplug::control {

using domain::JobId;

const JobRecord* JobTable::find(JobId job) const {
  const auto found = chunks_.find(job.value / kJobsPerChunk);
  if (found == chunks_.end()) return nullptr;
  const JobRecord& record = found->second->jobs[job.value % kJobsPerChunk];
  return record.at == JobRecord::At::Nowhere ? nullptr : &record;
}

JobRecord* JobTable::find(JobId job) {
  return const_cast<JobRecord*>(std::as_const(*this).find(job));
}

JobRecord& JobTable::add(JobId job) {
  std::unique_ptr<Chunk>& chunk = chunks_[job.value / kJobsPerChunk];
  if (!chunk) chunk = std::make_unique<Chunk>();
  JobRecord& record = chunk->jobs[job.value % kJobsPerChunk];
  GLOWPLUG_ASSERT(record.at == JobRecord::At::Nowhere);
  record = JobRecord{};
  record.at = JobRecord::At::Delayed;
  ++chunk->living;
  ++size_;
  return record;
}

void JobTable::erase(JobId job) {
  const auto found = chunks_.find(job.value / kJobsPerChunk);
  GLOWPLUG_ASSERT(found != chunks_.end());
  found->second->jobs[job.value % kJobsPerChunk].at = JobRecord::At::Nowhere;
  --size_;
  if (--found->second->living == 0) chunks_.erase(found);
}

std::vector<std::uint64_t> JobTable::chunks() const {
  std::vector<std::uint64_t> numbers;
  numbers.reserve(chunks_.size());
  for (const auto& [number, chunk] : chunks_) numbers.push_back(number);
  return numbers;
}

std::vector<JobId> JobTable::jobs_of(std::uint64_t chunk) const {
  std::vector<JobId> jobs;
  const auto found = chunks_.find(chunk);
  if (found == chunks_.end()) return jobs;
  for (std::size_t i = 0; i < kJobsPerChunk; ++i)
    if (found->second->jobs[i].at != JobRecord::At::Nowhere)
      jobs.push_back({chunk * kJobsPerChunk + i});
  return jobs;
}

}  // namespace glowplug::control
