// The phases of a request, one list for Server-Timing, metrics, logs and receipts.
// Thread: pure values.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "base/time_types.h"

namespace glowplug::domain {

enum class Phase { Auth, Queue, Fetch, Verify, Load, Fork, Restore, Prefill, Decode };

inline constexpr std::array<std::string_view, 9> kPhaseNames{
    "auth", "queue", "fetch", "verify", "load", "fork", "restore", "prefill", "decode"};

constexpr std::string_view to_string(Phase phase) {
  return kPhaseNames[static_cast<std::size_t>(phase)];
}

// How long one request spent in each phase; nothing for a phase that it did not have or is not
// known of.
class PhaseTimes final {
 public:
  std::optional<Duration>& operator[](Phase phase) {
    return times_[static_cast<std::size_t>(phase)];
  }
  const std::optional<Duration>& operator[](Phase phase) const {
    return times_[static_cast<std::size_t>(phase)];
  }
  Duration sum() const {
    Duration all{};
    for (const std::optional<Duration>& time : times_) all += time.value_or(Duration{});
    return all;
  }
  // visit(name, duration) for each known phase, in the order of the list.
  template <typename Visit>
  void each(const Visit& visit) const {
    for (std::size_t i = 0; i < times_.size(); ++i)
      if (times_[i]) visit(kPhaseNames[i], *times_[i]);
  }

 private:
  std::array<std::optional<Duration>, kPhaseNames.size()> times_{};
};

}  // namespace glowplug::domain
