#include "app/simulation_source.h"

#include <charconv>
#include <cmath>
#include <fstream>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/device_settings.h"
#include "app/world_settings.h"
#include "base/units.h"
#include "domain/errors.h"
#include "simulate/generator.h"
#include "simulate/trace.h"

namespace glowplug::app {
namespace {

using cli::SimulateOptions;

// "200" or "200:1.1".
Result<void> read_lengths(const std::string& text, const char* name, simulate::TokenLengths& into) {
  if (text.empty()) return {};
  const auto number = [](std::string_view part) -> std::optional<double> {
    double value = 0;
    const auto [end, code] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (code != std::errc{} || end != part.data() + part.size() || !std::isfinite(value))
      return std::nullopt;
    return value;
  };
  const std::string_view all(text);
  const auto colon = all.find(':');
  const auto median = number(all.substr(0, colon));
  const auto sigma =
      colon == std::string_view::npos ? std::optional(0.0) : number(all.substr(colon + 1));
  if (!median || !sigma || *median < 1 || *median > simulate::kTokensMax || *sigma < 0 ||
      *sigma > 10)
    return usage_error(
        fmt::format("--{}: '{}' is no number of tokens; write 200, or 200:1 for a median and how "
                    "far lengths spread",
                    name, text));
  into = {.median = *median, .sigma = *sigma, .most = simulate::kTokensMax};
  return {};
}

// "A10G:4,T4" as the rows of a settings file.
Result<std::vector<domain::Device>> read_fleet(const std::string& text,
                                               const domain::PriceTable& prices) {
  boost::json::array rows;
  std::string_view left(text);
  while (!left.empty()) {
    const std::string_view one = left.substr(0, left.find(','));
    left.remove_prefix(std::min(left.size(), one.size() + 1));
    const auto colon = one.find(':');
    boost::json::object row{{"type", one.substr(0, colon)}};
    if (colon != std::string_view::npos) {
      int count = 0;
      const std::string_view digits = one.substr(colon + 1);
      const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
      if (code != std::errc{} || end != digits.data() + digits.size())
        return usage_error(
            fmt::format("--devices: '{}' is no number of devices; write A10G:4,T4", digits));
      row["count"] = count;
    }
    rows.push_back(std::move(row));
  }
  models::ManifestFields::Faults faults;
  auto devices = read_devices(rows, &prices, faults);
  if (!devices) return usage_error(fmt::format("--devices: {}", fmt::join(faults, "; ")));
  for (const domain::Device& device : *devices)
    if (device.is_cpu())
      return usage_error("--devices: the CPU is the machine itself; --model says how large it is");
  return *std::move(devices);
}

}  // namespace

bool speaks_json(const SimulateOptions& options) { return options.json && options.json->empty(); }

Result<void> write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file) return {};
  return Error{std::string(domain::error::kInvalidValue),
               fmt::format("'{}' cannot be written", path), ""};
}

Result<void> write_files(const SimulateOptions& options, const std::string& json,
                         const std::string& plot) {
  if (options.json && !options.json->empty())
    if (const auto written = write_file(*options.json, json); !written) return written.error();
  if (!options.plot.empty()) return write_file(options.plot, plot);
  return {};
}

Error usage_error(const std::string& what) {
  return {std::string(cli::kUsage), what + "; see: glowplug simulate --help", ""};
}

std::optional<Error> fault_of(const SimulateOptions& options, const simulate::RunOutcome& outcome) {
  if (const auto& broken = outcome.violation)
    return Error{std::string(domain::error::kServerError),
                 fmt::format("a rule does not hold: turn {}, at {:.6f} s: {}: {}", broken->turn,
                             to_seconds(broken->at.time_since_epoch()), broken->rule, broken->what),
                 ""};
  if (outcome.figures.calls > 0) return std::nullopt;
  return Error{
      std::string(domain::error::kInvalidValue),
      options.trace.empty()
          ? "no call comes: --rate is too low for this --length"
          : fmt::format("{}: no call is in it, or --keep and --length leave none", options.trace),
      "trace"};
}

int report_failure(const SimulateOptions& options, const cli::Console& console,
                   const Error& error) {
  console.err << "glowplug: " << error.message << std::endl;
  if (speaks_json(options)) {
    const boost::json::object told{{"message", error.message},
                                   {"type", "client_error"},
                                   {"param", error.param},
                                   {"code", error.code}};
    console.out << boost::json::serialize(boost::json::object{{"error", told}}) << std::endl;
  }
  return cli::to_int(cli::exit_code_for_error(error.code));
}

Result<simulate::WorldModel> world_of(const SimulateOptions& options) {
  simulate::WorldModel world;
  if (!options.model.empty()) {
    auto read = read_world_file(options.model);
    if (!read) return read.error();
    world = *std::move(read);
  }
  if (options.devices.empty()) return world;
  if (!world.machine.devices.empty())
    return usage_error(
        fmt::format("--devices: {} has devices already; say them once", options.model));
  auto devices = read_fleet(options.devices, world.prices);
  if (!devices) return devices.error();
  world.machine.devices = *std::move(devices);
  make_room_for_devices(world.machine);
  return world;
}

Result<std::unique_ptr<simulate::RequestSource>> open_source(const SimulateOptions& options) {
  simulate::TraceOptions trace{.seed = options.seed, .sort = options.sort, .keep = options.keep};
  simulate::Traffic traffic{.seed = options.seed,
                            .functions = options.functions,
                            .zipf = options.zipf,
                            .tenants = options.tenants,
                            .requests_per_s = options.rate,
                            .requests_max = options.requests};
  if (const auto read = read_lengths(options.prompt_tokens, "prompt-tokens", trace.prompt); !read)
    return read.error();
  if (const auto read = read_lengths(options.output_tokens, "output-tokens", trace.output); !read)
    return read.error();
  if (!options.trace.empty()) {
    if (!(options.keep > 0 && options.keep <= 1))
      return usage_error(fmt::format("--keep must lie above 0 and up to 1, not {}", options.keep));
    trace.length = options.length.value_or(simulate::kTraceMax);
    trace.requests_max = options.requests;
    return simulate::open_trace(options.trace, trace);
  }
  if (options.kind.empty())
    return usage_error("there is no traffic: name a file with --trace, or a kind with --generate");
  traffic.kind = *simulate::traffic_kind_named(options.kind);
  if (!options.prompt_tokens.empty()) traffic.prompt = trace.prompt;
  if (!options.output_tokens.empty()) traffic.output = trace.output;
  traffic.length = options.length.value_or(traffic.length);
  traffic.burst_every = options.burst_every.value_or(traffic.burst_every);
  traffic.burst_length = options.burst_length.value_or(traffic.burst_length);
  traffic.burst_factor = options.burst_factor.value_or(traffic.burst_factor);
  traffic.day = options.day.value_or(traffic.day);
  traffic.low = options.low.value_or(traffic.low);
  traffic.period = options.period.value_or(traffic.period);
  auto made = simulate::make_generator(traffic);
  if (!made) return usage_error("--" + made.error().message);
  return made;
}

}  // namespace glowplug::app
