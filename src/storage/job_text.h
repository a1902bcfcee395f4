// What of a job is text in its row or on the wire: its id, its limits, what its last attempt took.
//
// An id is "job_" and 16 digits: 24 bits of the data folder's epoch, which rises at each start of a
// server, and 40 bits that count within it. So none is ever given twice, and a new folder repeats
// none of the last one's.
//
// Thread: pure functions, values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/job_queue.h"
#include "domain/job.h"
#include "domain/phase.h"

namespace glowplug::storage {

inline constexpr int kJobSequenceBits = 40;
inline constexpr std::uint64_t kJobEpochMax = (1U << 23) - 1;  // so that a row's id is no negative

constexpr domain::JobId job_id(std::uint64_t epoch, std::uint64_t sequence) {
  return {(epoch << kJobSequenceBits) | (sequence & ((std::uint64_t{1} << kJobSequenceBits) - 1))};
}

std::string to_text(domain::JobId id);  // "job_0012d6870000002a"
std::optional<domain::JobId> parse_job_id(std::string_view text);
std::optional<domain::JobState> parse_job_state(std::string_view text);

// What a job was accepted with; kept so that a retry gets the same.
struct JobTerms {
  control::JobLimits limits;
  Duration ttl = std::chrono::hours(24);
};

std::string terms_text(const JobTerms& terms);
Result<JobTerms> read_terms(const std::string& text);

// What the attempt that ended a job took.
struct JobWork {
  domain::PhaseTimes phases;
  Duration load{};  // from its start to its grant
  Duration exec{};  // from there to its end
  bool cold = false;
  int revision = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};

std::string work_text(const JobWork& work);
Result<JobWork> read_work(const std::string& text);

}  // namespace glowplug::storage
