#include "cli/cost_line.h"

#include <charconv>
#include <cstdint>
#include <limits>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::cli {
namespace {

std::string check_calls(const std::string& text) {
  std::int64_t calls = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), calls);
  const bool fits = error == std::errc() && end == text.data() + text.size() && calls >= 0;
  return fits ? "" : fmt::format("'{}' is no number of calls, 0 or more", text);
}

std::string check_seconds(const std::string& text) {
  const auto read = parse_duration(text);
  return read && *read != kForever
             ? ""
             : fmt::format("'{}' is no time; write seconds, as 1.2, or 800ms", text);
}

}  // namespace

void add_cost(CLI::App& app, CostOptions& options, std::function<int(const Context&)>& command) {
  CLI::App* cost = app.add_subcommand("cost", "Reckon with the server's price table");
  cost->require_subcommand(1);
  CLI::App* estimate =
      cost->add_subcommand("estimate", "Say what a day of calls costs on a device");
  for (CLI::App* one : {cost, estimate}) {
    one->fallthrough();  // --json, --url and --admin-url may follow the command
    one->footer("Also on every command: --json, --url URL, --admin-url URL.");
  }
  estimate->add_option("--gpu", options.gpu, "T4, A10G, A100, CPU, or what the settings add")
      ->required();
  estimate->add_option("--requests-per-day", options.requests_per_day, "How many calls")
      ->required()
      ->check(CLI::Validator(check_calls, "NUMBER"));
  estimate
      ->add_option_function<std::string>(
          "--seconds",
          [&options](const std::string& text) {
            options.mean_time = parse_duration(text).value_or(Duration(0));
          },
          "How long one takes on average, as 1.2 or 800ms")
      ->required()
      ->check(CLI::Validator(check_seconds, "SECONDS"));
  estimate->add_option("--count", options.count, "Devices that a call occupies")
      ->check(CLI::Range(1, std::numeric_limits<int>::max()))
      ->capture_default_str();
  estimate->callback([&options, &command] {
    command = [&options](const Context& context) { return estimate_cost(context, options); };
  });
}

}  // namespace glowplug::cli
