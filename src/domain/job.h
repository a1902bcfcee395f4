// A job: an accepted call whose answer is fetched later. Its states, ids and order; no I/O.
//
//   queued ──▶ in_progress ──▶ completed | failed | cancelled | expired
//     ▲  │          │
//     │  └──────────┼──▶ cancelled | expired
//     └─────────────┘ another attempt
//
// What is terminal stays so. `dead_lettered` marks a failed job whose attempts are used up or that
// has killed its replicas: it waits for somebody to look at it, and may be tried anew.
//
// Thread: values.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace glowplug::domain {

enum class JobState { Queued, InProgress, Completed, Failed, Cancelled, Expired };

inline constexpr std::array<std::string_view, 6> kJobStateNames{
    "queued", "in_progress", "completed", "failed", "cancelled", "expired"};

constexpr std::string_view to_string(JobState state) {
  return kJobStateNames[static_cast<std::size_t>(state)];
}

constexpr bool is_terminal(JobState state) {
  return state != JobState::Queued && state != JobState::InProgress;
}

// Numbers rise in the order of acceptance. What clients see is text: storage/job_store.h.
struct JobId {
  std::uint64_t value = 0;
  friend auto operator<=>(const JobId&, const JobId&) = default;
};

// How an attempt ended.
//   Answered         an answer, to be kept as the result
//   Invalid          the request is at fault (a 4xx): no further attempt
//   FunctionFailed   the function or its model failed (a 5xx of its own, a load that failed)
//   NoCapacity       no place for it (queue full, no memory, quarantine): costs no attempt
//   Crashed          its replica ended under it; where the job is to blame it says so: `blamed`
//   TimedOut         it ran longer than the function's limits.timeout: no further attempt
//   HandedBack       the server stops: costs no attempt
enum class AttemptOutcome {
  Answered,
  Invalid,
  FunctionFailed,
  NoCapacity,
  Crashed,
  TimedOut,
  HandedBack
};

// Of jobs and calls of one function: interactive ones first. A function's own priority is another
// matter.
enum class JobUrgency { Interactive, Batch };

}  // namespace glowplug::domain
