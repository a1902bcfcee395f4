#include "cli/usage_line.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::cli {
namespace {

std::string check_groups(const std::string& text) {
  std::string_view rest = text;
  do {
    const std::string_view name = rest.substr(0, rest.find(','));
    if (name != "function" && name != "key" && name != "day")
      return fmt::format(
          "'{}' groups by nothing; write function, key or day, or several as "
          "function,day",
          text);
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
  } while (!rest.empty());
  return "";
}

std::string check_since(const std::string& text) {
  const auto since = parse_duration(text);
  if (since && *since > Duration(0) && *since <= std::chrono::days(3660)) return "";
  return fmt::format("'{}' is no span of time; write 7d, 12h or 90d", text);
}

}  // namespace

void add_usage(CLI::App& app, UsageOptions& options, std::function<int(const Context&)>& command) {
  CLI::App* const line = app.add_subcommand("usage", "Show what calls have cost");
  line->fallthrough();  // --json, --url and --admin-url may follow the command
  line->footer("Also on every command: --json, --url URL, --admin-url URL.");
  line->add_option("--by", options.by, "function, key or day, or several as function,day")
      ->check(CLI::Validator(check_groups, "GROUPS"))
      ->capture_default_str();
  const auto since = std::make_shared<std::string>("7d");  // owners: the option's user, below
  line->add_option("--since", *since, "How far back, in whole days of UTC")
      ->check(CLI::Validator(check_since, "SPAN"))
      ->capture_default_str();
  line->add_flag("--csv", options.csv, "As comma-separated values");
  line->callback([&options, &command, since] {
    options.since = parse_duration(*since).value_or(Duration(0));
    command = [&options](const Context& context) { return usage(context, options); };
  });
}

}  // namespace glowplug::cli
