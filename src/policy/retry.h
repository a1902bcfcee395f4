// How long a failure is remembered, and with it when another try is worth it; when deaths are a
// crash loop, and whether a request is to blame for them instead. The first failure is remembered
// for domain::kFailureRemembered; what goes on failing for twice as long each time, up to most of a
// minute, and not all functions at the same moment. What succeeds once begins anew.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <span>

#include "base/time_types.h"

namespace glowplug::policy {

inline constexpr Duration kFailureMost = std::chrono::seconds(45);  // and a quarter, by `spread`

// After the failure that is the `in_a_row`-th, from 1. A Retry-After may say it: a minute at most.
Duration failure_memory(int in_a_row, std::uint64_t spread);

// --- replicas that die while they serve ---

inline constexpr int kCrashLoop = 5;                              // deaths of one cause
inline constexpr Duration kCrashSpan = std::chrono::seconds(60);  // within this long

// Of deaths that had one cause.
bool is_crash_loop(std::span<const Time> deaths, Time now);

// How long nothing is tried, in the quarantine that is the `in_a_row`-th, from 1: 10 s and a
// quarter at most, then twice as long each time, as above.
Duration quarantine_time(int in_a_row, std::uint64_t spread);

// What a request has done to the replicas of one revision.
struct Suspicion {
  int deaths = 0;      // of replicas while they ran it
  bool alone = false;  // nothing else ran on the last of them
  int answered = 0;    // other calls, of late, that nobody spoke for yet: at most kAnswersMax
};
enum class Blame { Function, Request };

inline constexpr int kPoisonDeaths = 2;
// So many requests may be blamed one after the other before another answer is seen: a revision that
// has begun to die of every call is in a crash loop soon, however much it answered before.
inline constexpr int kAnswersMax = 3;

// A revision that answers nobody is not better than the request that it died of.
Blame blame(const Suspicion& suspicion);

}  // namespace glowplug::policy
