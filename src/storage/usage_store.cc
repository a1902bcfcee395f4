#include "storage/usage_store.h"

#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::storage {
namespace {

constexpr std::string_view kInsert =
    "INSERT INTO usage (request_id, job, function, revision, key, day, at_ms, terminal, row,"
    " cost_micros, platform_micros, prompt_tokens, cached_tokens, completion_tokens, device_ms,"
    " crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (request_id) DO UPDATE SET job = excluded.job, function = excluded.function,"
    " revision = excluded.revision, key = excluded.key, day = excluded.day,"
    " at_ms = excluded.at_ms, terminal = excluded.terminal, row = excluded.row,"
    " cost_micros = excluded.cost_micros, platform_micros = excluded.platform_micros,"
    " prompt_tokens = excluded.prompt_tokens, cached_tokens = excluded.cached_tokens,"
    " completion_tokens = excluded.completion_tokens, device_ms = excluded.device_ms,"
    " crc = excluded.crc WHERE usage.terminal = 'lost' AND excluded.terminal <> 'lost'";

constexpr std::string_view kFind =
    "SELECT request_id, job, function, revision, key, day, at_ms, terminal, row,"
    " cost_micros, platform_micros, prompt_tokens, cached_tokens, completion_tokens, device_ms,"
    " crc FROM usage WHERE request_id = ?";

UsageRow row_of(const Statement& statement) {
  UsageRow row{.request = statement.text(0),
               .function = statement.text(2),
               .revision = static_cast<int>(statement.number(3)),
               .key = statement.text(4),
               .day = statement.text(5),
               .at_ms = statement.number(6),
               .terminal = statement.text(7),
               .text = statement.text(8),
               .cost_micros = statement.number(9),
               .platform_micros = statement.number(10),
               .prompt_tokens = statement.number(11),
               .cached_tokens = statement.number(12),
               .completion_tokens = statement.number(13),
               .device_ms = statement.number(14)};
  if (statement.number(1) > 0) row.job = {static_cast<std::uint64_t>(statement.number(1))};
  return row;
}

Error too_many_groups() {
  return {std::string(domain::error::kInvalidValue),
          fmt::format("the usage asked for has more than {} rows; ask for fewer days or fewer "
                      "groups",
                      kUsageSumsMax),
          "group_by"};
}

// Columns by name; what is not grouped by is an empty text, so that all sums read alike.
std::string sums_text(const UsageQuery& query) {
  const auto column = [](bool is_asked, const char* name) {
    return is_asked ? std::string(name) : fmt::format("'' AS g_{}", name);
  };
  const auto group = [](bool is_asked, const char* name) {
    return is_asked ? std::string(name) : fmt::format("g_{}", name);
  };
  const std::string groups =
      fmt::format("{}, {}, {}", group(query.by_day, "day"), group(query.by_function, "function"),
                  group(query.by_key, "key"));
  return fmt::format(
      "SELECT {}, {}, {}, count(*), sum(cost_micros), sum(platform_micros), sum(prompt_tokens),"
      " sum(cached_tokens), sum(completion_tokens), sum(device_ms) FROM usage"
      " WHERE day >= ? AND day <= ? GROUP BY {} ORDER BY {} LIMIT {}",
      column(query.by_day, "day"), column(query.by_function, "function"),
      column(query.by_key, "key"), groups, groups, kUsageSumsMax + 1);
}

}  // namespace

Result<void> insert_usage(Database& database, const UsageRow& row) {
  Result<Statement> statement = database.prepare(kInsert);
  if (!statement) return statement.error();
  return statement->bind(row.request)
      .bind(row.job ? static_cast<std::int64_t>(row.job->value) : 0)
      .bind(row.function)
      .bind(std::int64_t{row.revision})
      .bind(row.key)
      .bind(row.day)
      .bind(row.at_ms)
      .bind(row.terminal)
      .bind(row.text)
      .bind(row.cost_micros)
      .bind(row.platform_micros)
      .bind(row.prompt_tokens)
      .bind(row.cached_tokens)
      .bind(row.completion_tokens)
      .bind(row.device_ms)
      .bind(checksum(row))
      .finish();
}

Result<void> insert_usage(Database& database, const domain::Receipt& receipt) {
  return insert_usage(database, usage_row(receipt));
}

Result<std::vector<UsageSum>> sum_usage(Database& database, const UsageQuery& query) {
  Result<Statement> statement = database.prepare(sums_text(query));
  if (!statement) return statement.error();
  statement->bind(query.from).bind(query.to.empty() ? std::string("9999-12-31") : query.to);
  std::vector<UsageSum> sums;
  while (true) {
    const Result<bool> row = statement->step();
    if (!row) return row.error();
    if (!*row) return sums;
    if (sums.size() == kUsageSumsMax) return too_many_groups();
    sums.push_back({.function = statement->text(1),
                    .key = statement->text(2),
                    .day = statement->text(0),
                    .requests = statement->number(3),
                    .cost_micros = statement->number(4),
                    .platform_micros = statement->number(5),
                    .prompt_tokens = statement->number(6),
                    .cached_tokens = statement->number(7),
                    .completion_tokens = statement->number(8),
                    .device_ms = statement->number(9)});
  }
}

Result<std::optional<UsageRow>> find_usage(Database& database, const std::string& request) {
  Result<Statement> statement = database.prepare(kFind);
  if (!statement) return statement.error();
  statement->bind(request);
  const Result<bool> found = statement->step();
  if (!found) return found.error();
  if (!*found) return std::optional<UsageRow>();
  UsageRow row = row_of(*statement);
  if (statement->number(15) != checksum(row))
    return Error{std::string(domain::error::kStorageFailed),
                 fmt::format("the usage row of {} is damaged: its checksum does not fit; restore "
                             "the data folder from a backup",
                             request),
                 {}};
  return std::optional(std::move(row));
}

Result<std::int64_t> folded_until(Database& database, const std::string& segment) {
  Result<Statement> statement = database.prepare("SELECT offset FROM usage_fold WHERE segment = ?");
  if (!statement) return statement.error();
  statement->bind(segment);
  const Result<bool> found = statement->step();
  if (!found) return found.error();
  return *found ? statement->number(0) : std::int64_t{0};
}

Result<void> set_folded(Database& database, const std::string& segment, std::int64_t offset) {
  Result<Statement> statement =
      database.prepare("INSERT OR REPLACE INTO usage_fold (segment, offset) VALUES (?, ?)");
  if (!statement) return statement.error();
  return statement->bind(segment).bind(offset).finish();
}

Result<void> forget_folded(Database& database, const std::string& segment) {
  Result<Statement> statement = database.prepare("DELETE FROM usage_fold WHERE segment = ?");
  if (!statement) return statement.error();
  return statement->bind(segment).finish();
}

}  // namespace glowplug::storage
