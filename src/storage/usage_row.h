// A receipt as it is stored: its columns for sums, and all of it as JSON, which is also what is
// shown of it and what the usage log holds.
//
// Thread: values, pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "domain/receipt.h"

namespace glowplug::storage {

struct UsageRow {
  std::string request;
  std::optional<domain::JobId> job;
  std::string function;
  int revision = 0;
  std::string key;
  std::string day;  // of its end, in UTC: 2026-11-28
  std::int64_t at_ms = 0;
  std::string terminal;
  std::string text;  // all of it, a JSON object
  std::int64_t cost_micros = 0, platform_micros = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  std::int64_t device_ms = 0;
  friend bool operator==(const UsageRow&, const UsageRow&) = default;
};

UsageRow usage_row(const domain::Receipt& receipt);

// Of a text that usage_row() made; storage_failed for anything else.
Result<UsageRow> read_usage_row(std::string_view text);

// Over all of its columns, so that a row that was damaged is not read as another one.
std::int64_t checksum(const UsageRow& row);

}  // namespace glowplug::storage
