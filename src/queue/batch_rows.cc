#include "queue/batch_rows.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"

namespace glowplug::queue {
namespace {

namespace json = boost::json;

constexpr std::string_view kPrefix = "batch_";

std::int64_t milliseconds(WallTime time) { return time.time_since_epoch().count(); }
std::int64_t milliseconds(Time time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

// The column `times`: when each state began, by its name, and what else is known of the course.
std::string course_text(const BatchRecord& record) {
  json::object course;
  for (std::size_t i = 0; i < record.at.size(); ++i)
    if (record.at[i]) course[kBatchStateNames[i]] = milliseconds(*record.at[i]);
  if (record.expired) course["ends_expired"] = true;
  if (record.output_expires)
    course["output_expires_s"] =
        std::chrono::duration_cast<std::chrono::seconds>(*record.output_expires).count();
  if (!record.traceparent.empty()) course["traceparent"] = record.traceparent;
  if (record.usage)
    course["usage"] = json::object{{"prompt", record.usage->prompt_tokens},
                                   {"cached", record.usage->cached_tokens},
                                   {"completion", record.usage->completion_tokens}};
  return json::serialize(course);
}

std::int64_t number_at(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_int64() ? value->get_int64() : 0;
}

std::string text_at(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return {};
  return {value->get_string().data(), value->get_string().size()};
}

json::value parsed(const std::string& text) {
  boost::system::error_code ec;
  json::value value = json::parse(text, ec);
  return ec ? json::value(nullptr) : value;
}

void read_course(const std::string& text, BatchRecord& record) {
  const json::value value = parsed(text);
  if (!value.is_object()) return;
  const json::object& course = value.get_object();
  for (std::size_t i = 0; i < record.at.size(); ++i)
    if (const std::int64_t at = number_at(course, kBatchStateNames[i]); at != 0)
      record.at[i] = WallTime(std::chrono::milliseconds(at));
  record.expired = course.contains("ends_expired");
  if (const std::int64_t seconds = number_at(course, "output_expires_s"); seconds != 0)
    record.output_expires = std::chrono::seconds(seconds);
  record.traceparent = text_at(course, "traceparent");
  const json::value* usage = course.if_contains("usage");
  if (usage == nullptr || !usage->is_object()) return;
  record.usage = {.prompt_tokens = number_at(usage->get_object(), "prompt"),
                  .cached_tokens = number_at(usage->get_object(), "cached"),
                  .completion_tokens = number_at(usage->get_object(), "completion")};
}

std::string faults_text(const std::vector<BatchFault>& faults) {
  json::array list;
  for (const BatchFault& fault : faults)
    list.emplace_back(json::object{{"line", fault.line},
                                   {"code", fault.code},
                                   {"message", fault.message},
                                   {"param", fault.param}});
  return json::serialize(list);
}

std::vector<BatchFault> read_faults(const std::string& text) {
  std::vector<BatchFault> faults;
  const json::value value = parsed(text);
  if (!value.is_array()) return faults;
  for (const json::value& one : value.get_array()) {
    if (!one.is_object()) continue;
    const json::object& object = one.get_object();
    faults.push_back({static_cast<std::uint64_t>(number_at(object, "line")),
                      text_at(object, "code"), text_at(object, "message"),
                      text_at(object, "param")});
  }
  return faults;
}

Result<BatchState> read_state(const std::string& text) {
  const auto found = std::find(kBatchStateNames.begin(), kBatchStateNames.end(), text);
  if (found != kBatchStateNames.end())
    return static_cast<BatchState>(found - kBatchStateNames.begin());
  return Error{std::string(domain::error::kStorageFailed),
               fmt::format("the table batches has the state \"{}\", which there is not", text), ""};
}

Result<BatchRecord> read_row(const storage::Statement& row) {
  const Result<BatchState> state = read_state(row.text(4));
  if (!state) return state.error();
  BatchRecord record;
  record.id = row.number(0);
  record.endpoint = row.text(1);
  record.input_file = row.text(2);
  record.metadata = row.text(3);
  record.state = *state;
  record.created = WallTime(std::chrono::milliseconds(row.number(5)));
  record.expires = Time(std::chrono::milliseconds(row.number(6)));
  record.total = static_cast<std::uint64_t>(row.number(7));
  record.done = static_cast<std::uint64_t>(row.number(8));
  record.failed = static_cast<std::uint64_t>(row.number(9));
  record.output_file = row.text(10);
  record.error_file = row.text(11);
  read_course(row.text(12), record);
  record.faults = read_faults(row.text(13));
  return record;
}

}  // namespace

std::string batch_id(std::int64_t id) { return fmt::format("{}{:016x}", kPrefix, id); }

std::optional<std::int64_t> parse_batch_id(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  std::int64_t id = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), id, 16);
  if (ec != std::errc() || end != text.data() + text.size() || id < 0) return std::nullopt;
  if (batch_id(id) != fmt::format("{}{}", kPrefix, text)) return std::nullopt;
  return id;
}

Result<std::vector<BatchRecord>> read_batches(storage::Database& database) {
  auto select = database.prepare(
      "SELECT id, endpoint, input_file, metadata, state, created_ms, expires_queue_ms, total, "
      "done, "
      "failed, output_file, error_file, times, errors FROM batches ORDER BY id");
  if (!select) return select.error();
  std::vector<BatchRecord> records;
  while (true) {
    const Result<bool> row = select->step();
    if (!row) return row.error();
    if (!*row) return records;
    Result<BatchRecord> record = read_row(*select);
    if (!record) return record.error();
    records.push_back(std::move(*record));
  }
}

Result<void> insert_batch(storage::Database& database, const BatchRecord& record) {
  auto insert = database.prepare(
      "INSERT INTO batches(id, endpoint, input_file, metadata, state, created_ms, "
      "expires_queue_ms, total, done, failed, output_file, error_file, times, errors) "
      "VALUES(?, ?, ?, ?, ?, ?, ?, 0, 0, 0, '', '', ?, '[]')");
  if (!insert) return insert.error();
  insert->bind(record.id)
      .bind(record.endpoint)
      .bind(record.input_file)
      .bind(record.metadata)
      .bind(to_string(record.state))
      .bind(milliseconds(record.created))
      .bind(milliseconds(record.expires))
      .bind(course_text(record));
  return insert->finish();
}

Result<void> update_batch(storage::Database& database, const BatchRecord& record) {
  auto update = database.prepare(
      "UPDATE batches SET state = ?, total = ?, done = ?, failed = ?, output_file = ?, "
      "error_file = ?, times = ?, errors = ? WHERE id = ?");
  if (!update) return update.error();
  update->bind(to_string(record.state))
      .bind(static_cast<std::int64_t>(record.total))
      .bind(static_cast<std::int64_t>(record.done))
      .bind(static_cast<std::int64_t>(record.failed))
      .bind(record.output_file)
      .bind(record.error_file)
      .bind(course_text(record))
      .bind(faults_text(record.faults))
      .bind(record.id);
  return update->finish();
}

Result<void> delete_batch(storage::Database& database, std::int64_t id) {
  auto statement = database.prepare("DELETE FROM batches WHERE id = ?");
  if (!statement) return statement.error();
  return statement->bind(id).finish();
}

}  // namespace glowplug::queue
