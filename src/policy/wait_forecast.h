// How long a call will wait for a slot, by what was measured: one that cannot make its deadline is
// refused at once instead of late, and is told when another try is worth it.
//
// Calls end at the rate of slots ÷ mean time of an answer. While replicas start, only those that
// serve already count; once they are there, their slots are free.
//
// Thread: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "base/time_types.h"

namespace glowplug::policy {

// Of one slot, from a call's grant to its end.
struct ServiceTime {
  Duration mean{};
  int samples = 0;  // at most kServiceSamples: what is older fades
};
inline constexpr int kServiceSamplesMin = 10;  // before them nothing is foretold
inline constexpr int kServiceSamples = 32;
void note_answer(ServiceTime& service, Duration took);

struct WaitFacts {
  int ahead = 0;          // weights of the calls that wait before it
  int weight = 1;         // its own
  int slots = 0;          // of replicas that serve
  int slots_free = 0;     // among them
  int slots_coming = 0;   // of replicas that start
  Duration start_left{};  // until those serve
  ServiceTime service = {};
};

// Nothing where too little is known to refuse anybody.
std::optional<Duration> expected_wait(const WaitFacts& facts);

// Seconds, at least one, after which a call that may wait for `allowed` is worth another try.
// Callers that were refused together come back spread over a quarter of it, by `spread`.
int retry_after_s(Duration expected, Duration allowed, std::uint64_t spread);

}  // namespace glowplug::policy
