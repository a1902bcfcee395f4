// The phases of a request, one list for Server-Timing, metrics, logs and receipts.
// Thread: pure values.
#pragma once

#include <array>
#include <string_view>

namespace glowplug::domain {

enum class Phase { Auth, Queue, Fetch, Verify, Load, Fork, Restore, Prefill, Decode };

inline constexpr std::array<std::string_view, 9> kPhaseNames{
    "auth", "queue", "fetch", "verify", "load", "fork", "restore", "prefill", "decode"};

constexpr std::string_view to_string(Phase phase) {
  return kPhaseNames[static_cast<std::size_t>(phase)];
}

}  // namespace glowplug::domain
