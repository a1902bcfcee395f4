// One call as `glowplug why REQUEST` prints it.
#include <algorithm>

#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"
#include "cli/words.h"

namespace glowplug::cli {
namespace {

constexpr double kBarWidth = 40;
constexpr double kShownMs = 0.05;  // less reads as 0.0

bool known(const boost::json::value& object, std::string_view name) {
  const boost::json::value* found = field(object, name);
  return found != nullptr && !found->is_null();
}

// "req_… of chat: answered (200) after 812.3 ms".
std::string outcome_line(const boost::json::value& call) {
  std::string line = fmt::format("{} of {}: {}", text_field(call, "request"),
                                 text_field(call, "function"), text_field(call, "outcome"));
  if (known(call, "status"))
    line += known(call, "error")
                ? fmt::format(" ({} {})", text_field(call, "status"), text_field(call, "error"))
                : fmt::format(" ({})", text_field(call, "status"));
  if (known(call, "total_ms"))
    line += fmt::format(" after {:.1f} ms", number_field(call, "total_ms"));
  return line + "\n";
}

// "cold from disk, 105.5 MB read from it; replica 3 of revision 1".
std::string start_line(const boost::json::value& call) {
  const boost::json::value* start = field(call, "start");
  if (start == nullptr || start->is_null()) return "no replica was granted\n";
  std::string line = "warm";
  if (known(*start, "tier")) {
    const auto bytes = static_cast<std::uint64_t>(number_field(*start, "bytes_read"));
    line = fmt::format("cold from {}", text_field(*start, "tier"));
    line += known(*start, "bytes_read")
                ? fmt::format(", {} read from the disk", format_bytes(bytes))
                : ", its process does not say what it read from the disk";
  }
  line += fmt::format("; replica {} of revision {}", text_field(call, "replica"),
                      text_field(call, "revision"));
  const double tries = number_field(call, "tries");
  return line + (tries > 1 ? fmt::format(", the last of {} tried\n", tries) : "\n");
}

std::string tokens_line(const boost::json::value& call) {
  const boost::json::value* usage = field(call, "usage");
  std::string line;
  if (usage != nullptr && !usage->is_null())
    line = fmt::format("{} prompt tokens, {} of them from kept state; {} completion tokens",
                       text_field(*usage, "prompt_tokens"), text_field(*usage, "cached_tokens"),
                       text_field(*usage, "completion_tokens"));
  if (known(call, "first_byte_ms"))
    line += fmt::format("{}first byte after {:.1f} ms", line.empty() ? "" : "; ",
                        number_field(call, "first_byte_ms"));
  return line.empty() ? "" : line + "\n";
}

std::string arrival_line(const boost::json::value& call) {
  const boost::json::value* stream = field(call, "stream");
  const bool streamed = stream != nullptr && stream->is_bool() && stream->get_bool();
  std::string line = fmt::format(
      "arrived {} UTC at {}{}", time_of_day(static_cast<std::int64_t>(number_field(call, "at_ms"))),
      text_field(call, "path"), streamed ? ", streamed" : "");
  if (known(call, "job"))
    line += fmt::format("; an attempt of {}", text_field(call, "job"));
  else if (known(call, "client_request"))
    line += fmt::format("; its caller calls it {}", text_field(call, "client_request"));
  return line + "\n";
}

// The rest is what the list of phases has no name for: the gateway's own work, and earlier tries.
std::string phases_table(const boost::json::value& call) {
  std::vector<std::pair<std::string, double>> phases;
  double sum = 0;
  if (const boost::json::value* all = field(call, "phases_ms"); all && all->is_object())
    for (const auto& member : all->get_object()) {
      const std::string name(member.key());
      phases.emplace_back(name, number_field(*all, name));
      sum += phases.back().second;
    }
  const double total = number_field(call, "total_ms");
  if (total > 0) phases.emplace_back("rest", total - sum);
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, took] : phases) {
    if (took < kShownMs) continue;
    const double share = took / std::max(total, sum);
    rows.push_back({name, fmt::format("{:.1f}", took),
                    std::string(static_cast<std::size_t>(share * kBarWidth + 0.5), '#')});
  }
  if (rows.empty()) return "";
  return "\n" + layout_table({{"PHASE"}, {"MS", Align::Right}, {""}}, rows);
}

std::string decisions_table(const boost::json::value& call) {
  const boost::json::value* decisions = field(call, "decisions");
  std::vector<std::vector<std::string>> rows;
  if (decisions != nullptr && decisions->is_array())
    for (const boost::json::value& one : decisions->get_array())
      rows.push_back({fmt::format("{:.1f}", number_field(one, "after_ms")),
                      text_field(one, "decision"), text_field(one, "reason")});
  if (rows.empty()) return "";
  return "\n" + layout_table({{"AFTER MS", Align::Right}, {"DECISION"}, {"REASON"}}, rows);
}

}  // namespace

std::string call_anatomy(const boost::json::value& call) {
  return outcome_line(call) + start_line(call) + tokens_line(call) + arrival_line(call) +
         phases_table(call) + decisions_table(call);
}

}  // namespace glowplug::cli
