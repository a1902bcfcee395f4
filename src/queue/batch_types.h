// A batch: many requests in one file, answered within a day.
//
//   validating ──▶ in_progress ──▶ finalizing ──▶ completed | expired
//       │  │           │
//       │  └───────────┴──▶ cancelling ──▶ cancelled
//       └──▶ failed
//
// finalizing and the end of cancelling write the output and error files. What is terminal stays so.
// Thread: values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time_types.h"
#include "queue/batch_reader.h"

namespace glowplug::queue {

enum class BatchState {
  Validating,
  InProgress,
  Finalizing,
  Completed,
  Failed,
  Expired,
  Cancelling,
  Cancelled
};

inline constexpr std::array<std::string_view, 8> kBatchStateNames{
    "validating", "in_progress", "finalizing", "completed",
    "failed",     "expired",     "cancelling", "cancelled"};

constexpr std::string_view to_string(BatchState state) {
  return kBatchStateNames[static_cast<std::size_t>(state)];
}

constexpr bool is_terminal(BatchState state) {
  return state == BatchState::Completed || state == BatchState::Failed ||
         state == BatchState::Expired || state == BatchState::Cancelled;
}

struct BatchUsage {
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
};

struct BatchRecord {
  std::int64_t id = 0;
  std::string endpoint;
  std::string input_file;
  std::string metadata;  // a JSON object
  BatchState state = BatchState::Validating;
  WallTime created{};
  Time expires{};  // of the queue's clock
  std::uint64_t total = 0, done = 0, failed = 0;
  std::string output_file, error_file;                              // empty = none
  std::array<std::optional<WallTime>, kBatchStateNames.size()> at;  // when each state began
  bool expired = false;                                             // finalizing leads to expired
  std::optional<Duration> output_expires;                           // of the files it makes
  std::optional<BatchUsage> usage;
  std::string traceparent;  // of the call that made it; empty = none
  std::vector<BatchFault> faults;
};

// What clients see: "batch_" and 16 hexadecimal digits.
std::string batch_id(std::int64_t id);
std::optional<std::int64_t> parse_batch_id(std::string_view text);

}  // namespace glowplug::queue
