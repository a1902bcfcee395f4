// The usage ledger: one row for each call that a replica took, and for each job that is over.
//
// A row is written once. Only of a call that was thought lost, because the server had ended while
// it ran, a record that turns up later takes the row's place; so the sums are the same in whatever
// order, and however often, records are added. A job's row belongs into the transaction of its
// terminal state: insert_usage() begins none of its own.
//
// Thread: whoever owns the database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "domain/receipt.h"
#include "storage/sqlite.h"
#include "storage/usage_row.h"

namespace glowplug::storage {

Result<void> insert_usage(Database& database, const UsageRow& row);
Result<void> insert_usage(Database& database, const domain::Receipt& receipt);

struct UsageQuery {
  bool by_function = false, by_key = false, by_day = false;
  std::string from, to;  // days, both within; empty = no bound
};

struct UsageSum {
  std::string function, key, day;  // empty where it is not grouped by that
  std::int64_t requests = 0;
  std::int64_t cost_micros = 0, platform_micros = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  std::int64_t device_ms = 0;
  friend bool operator==(const UsageSum&, const UsageSum&) = default;
};

inline constexpr std::size_t kUsageSumsMax = 100'000;  // groups of one answer

// In the order of day, function, key. Errors: invalid_value where there are more groups.
Result<std::vector<UsageSum>> sum_usage(Database& database, const UsageQuery& query);

// Nothing where there is none; storage_failed where its checksum does not fit.
Result<std::optional<UsageRow>> find_usage(Database& database, const std::string& request);

// How much of a segment of the usage log is in the ledger: metering/usage_log.h.
Result<std::int64_t> folded_until(Database& database, const std::string& segment);  // 0 = nothing
Result<void> set_folded(Database& database, const std::string& segment, std::int64_t offset);
Result<void> forget_folded(Database& database, const std::string& segment);

}  // namespace glowplug::storage
