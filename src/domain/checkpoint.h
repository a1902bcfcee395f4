// A checkpoint's name, which is its step: `checkpoint-10` is step 10, the first one saved by
// default. Thread: pure functions.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "domain/limits.h"

namespace glowplug::domain {

struct StepWeight {
  int step = 0;
  int weight = 0;  // of 100
  friend bool operator==(const StepWeight&, const StepWeight&) = default;
};

inline constexpr std::string_view kCheckpointPrefix = "checkpoint-";

inline std::string checkpoint_name(int step) {
  return std::string(kCheckpointPrefix) + std::to_string(step);
}

// Reads `checkpoint-10` and `10`; nothing when it is neither, or out of 1…kCheckpointStepMax.
inline std::optional<int> parse_checkpoint(std::string_view text) {
  if (text.starts_with(kCheckpointPrefix)) text.remove_prefix(kCheckpointPrefix.size());
  int step = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, step);
  if (error != std::errc() || at != end || text.starts_with('0')) return std::nullopt;
  if (step < 1 || step > kCheckpointStepMax) return std::nullopt;
  return step;
}

}  // namespace glowplug::domain
