// What the usage log holds, as lines of text:
//
//   <checksum, 16 hex digits> I {"request":…,"function":…,"revision":…,"at_ms":…}   before it runs
//   <checksum, 16 hex digits> C {…}                       its receipt (storage/usage_row.h)
//
// A line that was cut off, or whose checksum does not fit, is none.
//
// Thread: values, pure functions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/time_types.h"
#include "storage/usage_row.h"

namespace glowplug::metering {

struct Intent {
  std::string request;
  std::string function;
  int revision = 0;
  WallTime at{};
  friend bool operator==(const Intent&, const Intent&) = default;
};

using UsageRecord = std::variant<Intent, storage::UsageRow>;

std::string line_of(const Intent& intent);                    // with its newline
std::string line_of(const storage::UsageRow& closed);         // the same
std::optional<UsageRecord> read_line(std::string_view line);  // without its newline

// What becomes of a call whose server ended while it ran: nobody pays for it.
storage::UsageRow lost_row(const Intent& intent);

// Each whole line; returns how many bytes they were. Lines that are no record are counted.
struct LinesRead {
  std::size_t bytes = 0, damaged = 0;
};
LinesRead read_lines(std::string_view text, const std::function<void(UsageRecord)>& take);

}  // namespace glowplug::metering
