#include "app/planner.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "app/simulation_source.h"
#include "base/units.h"
#include "cli/table.h"
#include "domain/errors.h"
#include "simulate/report.h"
#include "simulate/single_run.h"

namespace glowplug::app {
namespace {

using cli::Align;
using cli::Console;
using cli::SimulateOptions;
using simulate::Figures;
using simulate::PlanVariant;

struct Planned {
  std::string name;
  simulate::WorldModel model;
  Figures figures;
};

// Those that were named, in the order of the plan.
Result<std::vector<PlanVariant>> chosen_variants(const SimulateOptions& options) {
  std::vector<PlanVariant> variants = simulate::plan_variants();
  const auto is = [](const std::string& name) {
    return [&name](const PlanVariant& variant) { return variant.name == name; };
  };
  for (const std::string& name : options.policies) {
    if (std::any_of(variants.begin(), variants.end(), is(name))) continue;
    std::vector<std::string> names;
    for (const PlanVariant& variant : variants) names.push_back(variant.name);
    return usage_error(
        fmt::format("--policy: there is no '{}'; there are {}", name, fmt::join(names, ", ")));
  }
  if (!options.policies.empty())
    std::erase_if(variants, [&options](const PlanVariant& variant) {
      return std::find(options.policies.begin(), options.policies.end(), variant.name) ==
             options.policies.end();
    });
  for (PlanVariant& variant : variants) {
    if (options.starts == "executed") variant.starts = simulate::Starts::Executed;
    if (options.starts == "forked") variant.starts = simulate::Starts::Forked;
  }
  return variants;
}

Result<Planned> run_variant(const SimulateOptions& options, const simulate::WorldModel& world,
                            const PlanVariant& variant) {
  auto source = open_source(options);
  if (!source) return source.error();
  const simulate::RunSetup setup{.model = simulate::with(world, variant),
                                 .seed = options.seed,
                                 .keep_alive = variant.rule,
                                 .eviction = variant.eviction};
  const auto outcome = simulate::run_once(setup, **source);
  if (!outcome) return outcome.error();
  if (auto fault = fault_of(options, *outcome)) {
    if (outcome->violation) fault->message = variant.name + ": " + fault->message;
    return *std::move(fault);
  }
  return Planned{variant.name, setup.model, outcome->figures};
}

// Short, for a narrow column: 0, 4.5ms, 12s, 3h05m.
std::string brief(Duration duration) {
  const double seconds = to_seconds(duration);
  if (seconds == 0) return "0";
  if (seconds < 0.01) return fmt::format("{:.1f}ms", seconds * 1e3);
  if (seconds < 1) return fmt::format("{:.0f}ms", seconds * 1e3);
  if (seconds < 10) return fmt::format("{:.1f}s", seconds);
  if (seconds < 600) return fmt::format("{:.0f}s", seconds);
  const auto minutes = static_cast<long>(seconds / 60 + 0.5);
  return minutes < 600 ? fmt::format("{}m", minutes)
                       : fmt::format("{}h{:02}m", minutes / 60, minutes % 60);
}

std::string brief(double number) {
  if (number >= 1e7) return fmt::format("{:.1f}M", number / 1e6);
  return number < 100 ? fmt::format("{:.1f}", number) : fmt::format("{:.0f}", number);
}

// Accelerators that were in use at once, at most: "2 A10G, 1 T4".
std::string devices_of(const Figures& figures) {
  std::vector<std::string> words;
  for (const auto& [type, use] : figures.devices)
    if (use.most > 0) words.push_back(fmt::format("{} {}", use.most, type));
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string table_of(const std::vector<Planned>& plan) {
  const auto any = [&plan](auto count) {
    return std::any_of(plan.begin(), plan.end(),
                       [&count](const Planned& one) { return count(one.figures) > 0; });
  };
  const bool refuses = any([](const Figures& figures) { return figures.refusals(); });
  const bool places = any([](const Figures& figures) { return figures.devices.size(); });
  const bool loses = any([](const Figures& figures) { return figures.lost(); });
  std::vector<cli::Column> columns{{"POLICY"}};
  for (const char* head :
       {"COLD", "COLD S", "P50", "P95", "P99", "DEVICE S", "GB·S", "MONEY", "GB"})
    columns.push_back({head, Align::Right});
  if (refuses) columns.push_back({"REFUSED", Align::Right});
  if (loses) columns.push_back({"LOST", Align::Right});
  if (places) columns.push_back({"DEVICES"});
  std::vector<std::vector<std::string>> rows;
  for (const auto& [name, model, figures] : plan) {
    const auto bill = simulate::bill_of(figures, model);
    rows.push_back(
        {name, std::to_string(figures.cold), brief(to_seconds(figures.waited_for_starts)),
         brief(figures.wait.percentile(0.5)), brief(figures.wait.percentile(0.95)),
         brief(figures.wait.percentile(0.99)),
         brief(simulate::device_seconds(figures, model.machine)),
         brief(figures.reserved_byte_s / 1e9), bill ? format_micros(bill->total.micros) : "-",
         brief(static_cast<double>(figures.reserved_most) / 1e9)});
    if (refuses) rows.back().push_back(std::to_string(figures.refusals()));
    if (loses) rows.back().push_back(std::to_string(figures.lost()));
    if (places) rows.back().push_back(devices_of(figures));
  }
  return cli::layout_table(columns, rows);
}

std::string machine_in_words(const simulate::Machine& machine) {
  std::string words;
  for (const domain::Device& row : machine.devices)
    words += fmt::format("{} {}, ", row.count, row.name);
  return words + fmt::format("{} with {} {} and {}", machine.device, machine.cores,
                             machine.cores == 1 ? "core" : "cores",
                             format_bytes(machine.memory_bytes));
}

std::string json_of(const std::vector<Planned>& plan) {
  std::vector<std::string> parts;
  for (const auto& [name, model, figures] : plan)
    parts.push_back(fmt::format("{{\"policy\":\"{}\",\"figures\":{}}}", name,
                                simulate::report_json(figures, model)));
  return fmt::format("{{\"policies\":[{}]}}\n", fmt::join(parts, ","));
}

}  // namespace

int plan(const SimulateOptions& options, const Console& console) {
  const auto world = world_of(options);
  if (!world) return report_failure(options, console, world.error());
  const auto variants = chosen_variants(options);
  if (!variants) return report_failure(options, console, variants.error());
  if (options.trace == "-" && variants->size() > 1)
    return report_failure(
        options, console,
        usage_error("--trace -: each policy reads the calls anew; name a file, or "
                    "one policy with --policy"));
  std::vector<Planned> plan;
  std::vector<std::pair<std::string, Figures>> lines;
  for (const PlanVariant& variant : *variants) {
    if (console.err_is_tty) console.err << fmt::format("\r\x1b[K{} …", variant.name) << std::flush;
    auto planned = run_variant(options, *world, variant);
    if (console.err_is_tty) console.err << "\r\x1b[K" << std::flush;
    if (!planned) return report_failure(options, console, planned.error());
    lines.emplace_back(variant.name, planned->figures);
    plan.push_back(*std::move(planned));
  }
  const std::string json = json_of(plan);
  if (const auto written = write_files(options, json, simulate::plan_plot(lines)); !written)
    return report_failure(options, console, written.error());
  if (speaks_json(options)) {
    console.out << json << std::flush;
    return cli::to_int(cli::ExitCode::Done);
  }
  const Figures& first = plan.front().figures;
  console.out << table_of(plan)
              << fmt::format("{} calls in {} on {}.\n", first.calls, format_duration(first.length),
                             machine_in_words(world->machine))
              << "COLD S: seconds that calls waited for starts; P50, P95, P99: for a replica.\n"
                 "GB and DEVICES: the most that was in use at once.\n"
              << std::flush;
  return cli::to_int(cli::ExitCode::Done);
}

}  // namespace glowplug::app
