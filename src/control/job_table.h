// What is known of each job that is not over, by its number.
//
// Numbers rise, so jobs lie in chunks of kJobsPerChunk next to each other; a chunk goes once all of
// it is over. A lone job of long ago keeps one chunk: 1.5 KiB.
//
// Thread: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/time_types.h"
#include "domain/job.h"

namespace glowplug::control {

// Small, because there may be a million: times in whole milliseconds, a function by its place in
// the queue's list.
struct JobRecord {
  enum class At : std::uint8_t { Nowhere, Delayed, Ready, Running };

  Time not_before{};
  Time expires_at = Time::max();  // never
  std::uint64_t fence = 0;        // of the attempt that runs, or of the last one
  std::uint32_t function = 0;
  std::uint32_t load_ms = 0, run_ms = 0, heartbeat_ms = 0;
  std::uint16_t attempts = 0, attempts_max = 0;  // without the one that runs
  std::uint8_t kills = 0;
  At at = At::Nowhere;  // of no job
  bool batch = false;

  domain::JobUrgency urgency() const {
    return batch ? domain::JobUrgency::Batch : domain::JobUrgency::Interactive;
  }
};
static_assert(sizeof(JobRecord) == 48);

inline constexpr std::size_t kJobsPerChunk = 32;

class JobTable final {
 public:
  JobRecord* find(domain::JobId job);  // null: over, or unknown
  const JobRecord* find(domain::JobId job) const;
  JobRecord& add(domain::JobId job);  // At::Delayed; must not be there. Stays where it is
  void erase(domain::JobId job);      // must be there
  std::size_t size() const { return size_; }

  // To look at all of them a few at a time: chunks that came since hold nothing of before.
  std::vector<std::uint64_t> chunks() const;
  std::vector<domain::JobId> jobs_of(std::uint64_t chunk) const;

 private:
  struct Chunk {
    std::array<JobRecord, kJobsPerChunk> jobs;
    std::size_t living = 0;
  };

  std::unordered_map<std::uint64_t, std::unique_ptr<Chunk>> chunks_;
  std::size_t size_ = 0;
};

}  // namespace glowplug::control
