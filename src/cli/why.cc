#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

// The time of day in UTC, from milliseconds since 1970.
std::string time_of_day(std::int64_t at_ms) {
  constexpr std::int64_t kDayMs = 86'400'000;
  const std::int64_t ms = at_ms % kDayMs;
  return fmt::format("{:02}:{:02}:{:02}.{:03}", ms / 3'600'000, ms / 60'000 % 60, ms / 1000 % 60,
                     ms % 1000);
}

}  // namespace

int why(const Context& context, const WhyOptions& options) {
  std::string target = "/v1/admin/decisions";
  if (!options.function.empty()) target += "?function=" + percent_encode(options.function);
  const Fetched got = fetch(context, context.admin, {.target = target});
  if (got.exit != 0) return got.exit;

  boost::json::array chosen;
  for (const boost::json::value& decision : data_of(got.body))
    if (options.function.empty() || text_field(decision, "function") == options.function)
      chosen.push_back(decision);
  const auto limit = static_cast<std::size_t>(options.limit);
  if (chosen.size() > limit)
    chosen.erase(chosen.begin(), chosen.end() - static_cast<std::ptrdiff_t>(limit));
  if (context.json) {
    print_json(context, chosen);
    return 0;
  }
  if (chosen.empty()) {
    context.console.out << "no decisions"
                        << (options.function.empty() ? "" : " about " + options.function) << " yet"
                        << std::endl;
    return 0;
  }
  std::vector<std::vector<std::string>> rows;
  for (const boost::json::value& decision : chosen)
    rows.push_back({time_of_day(static_cast<std::int64_t>(number_field(decision, "at_ms"))),
                    text_field(decision, "function"), text_field(decision, "decision"),
                    text_field(decision, "reason")});
  context.console.out << layout_table({{"AT"}, {"FUNCTION"}, {"DECISION"}, {"REASON"}}, rows)
                      << std::flush;
  return 0;
}

}  // namespace glowplug::cli
