// GET /v1/admin/usage: sums of the ledger and the account of each device; GET
// /v1/admin/usage/{request}: one receipt. Both ask no function and wake none.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/errors.h"
#include "gateway/awaited.h"
#include "gateway/job_answers.h"
#include "gateway/receipts.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using storage::UsageQuery;
using storage::UsageSum;

Error no_ledger() {
  return {std::string(domain::error::kNotFound), "This server meters nothing.", ""};
}

Result<void> read_groups(std::string_view text, UsageQuery& query) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view name = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (name == "function")
      query.by_function = true;
    else if (name == "key")
      query.by_key = true;
    else if (name == "day")
      query.by_day = true;
    else
      return invalid("group_by", "takes function, key and day, with commas between them.");
  }
  return {};
}

// Of digits alone; 0, which no part of a day is, where it is none.
unsigned number_of(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

bool is_day(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  const std::chrono::year_month_day day{
      std::chrono::year(static_cast<int>(number_of(text.substr(0, 4)))),
      std::chrono::month(number_of(text.substr(5, 2))),
      std::chrono::day(number_of(text.substr(8, 2)))};
  return day.ok() && day.year() >= std::chrono::year(1970);
}

Result<void> read_day(const Exchange& exchange, std::string_view name, std::string& day) {
  const std::string_view text = exchange.query_value(name);
  if (text.empty()) return {};
  if (!is_day(text)) return invalid(name, "must be a day of UTC, as 2026-11-28.");
  day = text;
  return {};
}

Result<UsageQuery> read_query(const Exchange& exchange) {
  UsageQuery query;
  std::string groups(exchange.query_value("group_by"));
  for (std::size_t at = 0; (at = groups.find("%2C", at)) != std::string::npos;)
    groups.replace(at, 3, ",");
  if (auto read = read_groups(groups.empty() ? "function" : groups, query); !read)
    return read.error();
  if (auto read = read_day(exchange, "from", query.from); !read) return read.error();
  if (auto read = read_day(exchange, "to", query.to); !read) return read.error();
  if (!query.from.empty() && !query.to.empty() && query.from > query.to)
    return invalid("from", "must not be after to.");
  return query;
}

json::object sum_object(const UsageSum& sum, const UsageQuery& query) {
  json::object object;
  if (query.by_day) object["day"] = sum.day;
  if (query.by_function) object["function"] = sum.function;
  if (query.by_key) object["key"] = sum.key.empty() ? json::value(nullptr) : json::value(sum.key);
  object["requests"] = sum.requests;
  object["cost_micros"] = sum.cost_micros;
  object["platform_micros"] = sum.platform_micros;
  object["prompt_tokens"] = sum.prompt_tokens;
  object["cached_tokens"] = sum.cached_tokens;
  object["completion_tokens"] = sum.completion_tokens;
  object["device_ms"] = sum.device_ms;
  return object;
}

UsageSum total_of(const std::vector<UsageSum>& sums) {
  UsageSum total;
  for (const UsageSum& sum : sums) {
    total.requests += sum.requests;
    total.cost_micros += sum.cost_micros;
    total.platform_micros += sum.platform_micros;
    total.prompt_tokens += sum.prompt_tokens;
    total.cached_tokens += sum.cached_tokens;
    total.completion_tokens += sum.completion_tokens;
    total.device_ms += sum.device_ms;
  }
  return total;
}

// wall = callers + platform + running + idle, to the micro-unit.
json::object device_object(const metering::DeviceLedger& ledger) {
  const policy::DeviceAccount& account = ledger.account;
  return {{"device", ledger.device},
          {"type", ledger.type},
          {"per_hour_micros", ledger.per_hour.micros},
          {"wall_seconds", to_seconds(account.wall)},
          {"idle_seconds", to_seconds(account.unused)},
          {"micros", json::object{{"wall", account.wall_cost.micros},
                                  {"callers", account.callers.micros},
                                  {"platform", account.platform.micros},
                                  {"running", account.running.micros},
                                  {"idle", account.idle.micros}}}};
}

std::string as_json(const std::vector<UsageSum>& sums, const UsageQuery& query,
                    const metering::UsageLedger& ledger) {
  json::array data, devices;
  for (const UsageSum& sum : sums) data.emplace_back(sum_object(sum, query));
  for (const metering::DeviceLedger& one : ledger.devices())
    devices.emplace_back(device_object(one));
  return json::serialize(
      json::object{{"object", "usage"},
                   {"data", std::move(data)},
                   {"total", sum_object(total_of(sums), {})},
                   {"devices_since_ms", ledger.since().time_since_epoch().count()},
                   {"devices", std::move(devices)}});
}

// Names of functions and days need no quotes; a key is quoted as RFC 4180 has it.
std::string quoted(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) out.append(c == '"' ? "\"\"" : std::string(1, c));
  return out + "\"";
}

std::string as_csv(const std::vector<UsageSum>& sums, const UsageQuery& query) {
  std::string text;
  if (query.by_day) text += "day,";
  if (query.by_function) text += "function,";
  if (query.by_key) text += "key,";
  text +=
      "requests,cost,platform_cost,prompt_tokens,cached_tokens,completion_tokens,"
      "device_seconds\r\n";
  for (const UsageSum& sum : sums) {
    if (query.by_day) text += sum.day + ",";
    if (query.by_function) text += quoted(sum.function) + ",";
    if (query.by_key) text += quoted(sum.key) + ",";
    text +=
        fmt::format("{},{},{},{},{},{},{}.{:03}\r\n", sum.requests, format_micros(sum.cost_micros),
                    format_micros(sum.platform_micros), sum.prompt_tokens, sum.cached_tokens,
                    sum.completion_tokens, sum.device_ms / 1000, sum.device_ms % 1000);
  }
  return text;
}

Result<bool> wants_csv(const Exchange& exchange) {
  const std::string_view format = exchange.query_value("format");
  if (format == "csv") return true;
  if (!format.empty() && format != "json") return invalid("format", "must be json or csv.");
  return format.empty() && exchange.header("accept").starts_with("text/csv");
}

Reply usage_reply(const Exchange& exchange, const std::vector<UsageSum>& sums,
                  const UsageQuery& query, bool csv) {
  if (!csv) return json_reply(200, as_json(sums, query, *exchange.server.options.usage));
  Reply reply;
  reply.body = as_csv(sums, query);
  reply.content_type = "text/csv; charset=utf-8";
  return reply;
}

Reply receipt_reply(const Exchange& exchange, const Result<std::optional<storage::UsageRow>>& row) {
  if (!row) return exchange.error_reply(row.error());
  if (*row) return json_reply(200, (*row)->text);
  return exchange.error_reply(
      Error{std::string(domain::error::kNotFound),
            "There is no receipt of `" + usable_request_id(exchange.name.substr(0, 80)) +
                "`: no replica has had such a call, or it has not ended yet.",
            "request"});
}

}  // namespace

Coroutine<> run_usage(Exchange& exchange) {
  metering::UsageLedger* const ledger = exchange.server.options.usage;
  const Result<UsageQuery> query = read_query(exchange);
  const Result<bool> csv = wants_csv(exchange);
  if (ledger == nullptr || !query || !csv) {
    const Error fault = ledger == nullptr ? no_ledger() : !query ? query.error() : csv.error();
    Reply refused = exchange.error_reply(fault);
    co_await exchange.send(std::move(refused));
    co_return;
  }
  using Sums = Result<std::vector<UsageSum>>;
  std::function<void(std::function<void(Sums)>)> ask = [ledger, &query](auto done) {
    ledger->sums(*query, std::move(done));
  };
  const Sums sums = co_await answer_to<Sums>(exchange.server.io, std::move(ask));
  Reply reply =
      sums ? usage_reply(exchange, *sums, *query, *csv) : exchange.error_reply(sums.error());
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_receipt(Exchange& exchange) {
  metering::UsageLedger* const ledger = exchange.server.options.usage;
  if (ledger == nullptr) {
    Reply refused = exchange.error_reply(no_ledger());
    co_await exchange.send(std::move(refused));
    co_return;
  }
  std::string request = exchange.name;
  const std::optional<domain::JobId> job = storage::parse_job_id(request);
  if (job && jobs_of(exchange.server) != nullptr) {  // its last run's
    Result<storage::JobView> view = co_await look_at(exchange.server, *job);
    if (view) request = std::move(view->request_id);
  }
  using Found = Result<std::optional<storage::UsageRow>>;
  std::function<void(std::function<void(Found)>)> ask = [ledger, &request](auto done) {
    ledger->find(request, std::move(done));
  };
  const Found row = co_await answer_to<Found>(exchange.server.io, std::move(ask));
  Reply reply = receipt_reply(exchange, row);
  co_await exchange.send(std::move(reply));
}

}  // namespace glowplug::gateway
