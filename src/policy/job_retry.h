// What follows an attempt of a job that has ended: whether it counts, whether there is another one,
// and after which pause.
//
//   outcome                     counts  then
//   answered                    yes     completed
//   invalid, timed out          yes     failed
//   function failed             yes     again; dead-lettered once the attempts are used up
//   crashed                     yes     the same, also once it has killed kJobKills replicas
//   no capacity, handed back    no      again
//   blamed, unless answered     yes     dead-lettered
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "base/time_types.h"
#include "domain/job.h"

namespace glowplug::policy {

inline constexpr int kJobKills = 3;  // replicas that ended while they ran it

struct JobTries {
  int attempts = 0;      // that counted
  int attempts_max = 3;  // less than one is taken as one
  int kills = 0;
};
bool is_used_up(const JobTries& tries);  // no further attempt

enum class AttemptVerdict { Complete, Fail, DeadLetter, Again };
struct AfterAttempt {
  AttemptVerdict verdict = AttemptVerdict::Complete;
  JobTries tries;
};
// `tries` as before the attempt.
AfterAttempt after_attempt(domain::AttemptOutcome outcome, bool blamed, JobTries tries);

// Before the next attempt of a job of which so many have failed, from 1: a second, then twice as
// long each time, up to five minutes, a fifth of which `spread` decides.
Duration failure_pause(int failed, std::uint64_t spread);

// After a refusal, the `in_a_row`-th of its function, from 1: what the refusal said, within a
// second and a minute, else a second, then twice as long each time. `spread` adds a quarter at
// most; without the refusal's word it is half a minute at most.
Duration capacity_pause(int in_a_row, std::optional<Duration> retry_after, std::uint64_t spread);

}  // namespace glowplug::policy
