// Strong ids, so that a call's number cannot be passed where a replica's is meant.
// Thread: pure values.
#pragma once

#include <compare>
#include <cstdint>

namespace glowplug::domain {

struct CallId {
  std::uint64_t value = 0;
  friend auto operator<=>(const CallId&, const CallId&) = default;
};

// A replica or the template that forks replicas: one number space.
struct ProcessId {
  std::uint64_t value = 0;
  friend auto operator<=>(const ProcessId&, const ProcessId&) = default;
};

struct TuneId {
  std::uint64_t value = 0;
  friend auto operator<=>(const TuneId&, const TuneId&) = default;
};

struct WatchId {
  std::uint64_t value = 0;
  friend auto operator<=>(const WatchId&, const WatchId&) = default;
};

}  // namespace glowplug::domain
