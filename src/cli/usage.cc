// What calls have cost: sums, a picture of the days, and what the devices did meanwhile.
#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include <boost/json/array.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "base/utc_day.h"
#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

std::int64_t count_field(const json::value& object, std::string_view name) {
  const json::value* found = field(object, name);
  return found != nullptr && found->is_int64() ? found->get_int64() : 0;
}

std::string money(const json::value& object, std::string_view name) {
  return format_micros(count_field(object, name));
}

std::string first_day(const Context& context, const UsageOptions& options) {
  const auto since = std::chrono::floor<std::chrono::milliseconds>(options.since);
  return utc_day(context.clock.wall_now() - since);
}

std::string usage_target(std::string_view groups, const std::string& from) {
  return fmt::format("/v1/admin/usage?group_by={}&from={}", percent_encode(groups), from);
}

std::vector<std::string> names_of(std::string_view groups) {
  std::vector<std::string> names;
  while (!groups.empty()) {
    const std::size_t end = std::min(groups.find(','), groups.size());
    names.emplace_back(groups.substr(0, end));
    groups.remove_prefix(std::min(end + 1, groups.size()));
  }
  return names;
}

std::vector<std::string> row_of(const json::value& sum) {
  return {text_field(sum, "requests"),
          money(sum, "cost_micros"),
          money(sum, "platform_micros"),
          text_field(sum, "prompt_tokens"),
          text_field(sum, "cached_tokens"),
          text_field(sum, "completion_tokens"),
          fmt::format("{:.1f}", number_field(sum, "device_ms") / 1000)};
}

std::string sums_table(const json::value& usage, const std::vector<std::string>& groups) {
  std::vector<Column> columns;
  for (const std::string& name : groups) {
    std::string head = name;
    for (char& c : head) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    columns.push_back({head});
  }
  for (const char* head :
       {"CALLS", "COST", "PLATFORM", "PROMPT", "CACHED", "COMPLETION", "DEVICE S"})
    columns.push_back({head, Align::Right});
  std::vector<std::vector<std::string>> rows;
  const auto add = [&rows](std::vector<std::string> names, const json::value& sum) {
    for (std::string& cell : row_of(sum)) names.push_back(std::move(cell));
    rows.push_back(std::move(names));
  };
  for (const json::value& sum : data_of(usage)) {
    std::vector<std::string> names;
    for (const std::string& name : groups) {
      const std::string text = text_field(sum, name);
      names.push_back(text.empty() ? "-" : text);
    }
    add(std::move(names), sum);
  }
  std::vector<std::string> names(groups.size());
  names.front() = "total";
  const json::value* total = field(usage, "total");
  add(std::move(names), total != nullptr ? *total : json::value());
  return layout_table(columns, rows);
}

// "CPU: 98.7 % of 0.001389 idle since the server began".
std::string device_lines(const json::value& usage) {
  const json::value* devices = field(usage, "devices");
  std::string text;
  if (devices == nullptr || !devices->is_array()) return text;
  for (const json::value& device : devices->get_array()) {
    const json::value* micros = field(device, "micros");
    const double wall = number_field(device, "wall_seconds");
    if (micros == nullptr || wall <= 0) continue;
    text +=
        fmt::format("{}: {:.1f} % of its {} idle since the server began; callers {}, platform {}\n",
                    text_field(device, "device"), 100 * number_field(device, "idle_seconds") / wall,
                    money(*micros, "wall"), money(*micros, "callers"), money(*micros, "platform"));
  }
  return text;
}

std::string next_day(const std::string& day) {
  int year = 0;
  unsigned month = 0, of_month = 0;
  if (std::sscanf(day.c_str(), "%d-%u-%u", &year, &month, &of_month) != 3) return day;
  const std::chrono::sys_days at =
      std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(of_month);
  return utc_day(at + std::chrono::days(1));
}

}  // namespace

std::string cost_sparkline(const json::value& by_day, const std::string& from,
                           const std::string& to) {
  static constexpr std::array<std::string_view, 8> kBars{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::size_t kDaysMax = 120;
  std::map<std::string, std::int64_t> costs;
  std::int64_t most = 0;
  for (const json::value& sum : data_of(by_day)) {
    const std::int64_t cost = count_field(sum, "cost_micros");
    costs[text_field(sum, "day")] = cost;
    most = std::max(most, cost);
  }
  if (most == 0) return "";
  std::string line;
  std::size_t days = 0;
  for (std::string day = from; day <= to && days < kDaysMax; day = next_day(day), ++days) {
    const auto found = costs.find(day);
    if (found == costs.end() || found->second == 0) {
      line += " ";
      continue;
    }
    const double share = static_cast<double>(found->second) / static_cast<double>(most);
    line += kBars[std::min<std::size_t>(7, static_cast<std::size_t>(std::floor(share * 8)))];
  }
  return fmt::format("cost by day  |{}|  {} to {}, {} at most\n", line, from, to,
                     format_micros(most));
}

int usage(const Context& context, const UsageOptions& options) {
  const std::string from = first_day(context, options);
  std::string target = usage_target(options.by, from);
  if (options.csv) {
    const Result<HttpReply> reply = context.admin.send({.target = target + "&format=csv"});
    if (!reply) return report_error(context, reply.error());
    if (!reply->succeeded()) return report_refusal(context, *reply);
    context.console.out << reply->body << std::flush;
    return 0;
  }
  const Fetched sums = fetch(context, context.admin, {.target = target});
  if (sums.exit != 0) return sums.exit;
  if (context.json) {
    print_json(context, sums.body);
    return 0;
  }
  const Fetched by_day = fetch(context, context.admin, {.target = usage_target("day", from)});
  if (by_day.exit != 0) return by_day.exit;
  context.console.out << sums_table(sums.body, names_of(options.by))
                      << cost_sparkline(by_day.body, from, utc_day(context.clock.wall_now()))
                      << device_lines(sums.body) << std::flush;
  return 0;
}

std::string receipt_table(const json::value& receipt) {
  std::vector<std::vector<std::string>> rows;
  const json::value* devices = field(receipt, "devices");
  if (devices != nullptr && devices->is_array())
    for (const json::value& line : devices->get_array())
      rows.push_back({text_field(line, "device"), money(line, "cost_micros"),
                      fmt::format("{:.6f} s at {} an hour", number_field(line, "seconds"),
                                  money(line, "per_hour_micros"))});
  if (const json::value* fee = field(receipt, "fee"); fee && !text_field(*fee, "device").empty())
    rows.push_back({"request", money(*fee, "cost_micros"), "fee of " + text_field(*fee, "device")});
  rows.push_back({"total", money(receipt, "cost_micros"), text_field(receipt, "terminal")});
  if (count_field(receipt, "platform_micros") > 0)
    rows.push_back({"platform", money(receipt, "platform_micros"), "not its caller's to pay"});
  rows.push_back(
      {"memory",
       format_bytes(static_cast<std::uint64_t>(count_field(receipt, "byte_seconds"))) + "·s",
       fmt::format(
           "held for it; idle before it {}·s",
           format_bytes(static_cast<std::uint64_t>(count_field(receipt, "idle_byte_seconds"))))});
  return "\n" + layout_table({{"RECEIPT"}, {"COST", Align::Right}, {"FOR"}}, rows);
}

}  // namespace glowplug::cli
