#include "cli/simulate_line.h"

#include <charconv>
#include <string>
#include <system_error>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

constexpr int kJobsMax = 1'024, kFaultsMax = 100'000;

void add_duration(CLI::App& command, const char* name, std::optional<Duration>& into,
                  const char* what) {
  command.add_option_function<std::string>(
      name,
      [name, &into](const std::string& text) {
        into = parse_duration(text);
        if (!into || *into == kForever || *into < Duration(0))
          throw CLI::ValidationError(
              name, fmt::format("'{}' is no duration; write 30s, 5m or 1h30m", text));
      },
      what);
}

// CLI11's own says up to which number of three hundred digits.
CLI::Validator at_least(std::uint64_t least) {
  return CLI::Validator(
      [least](const std::string& text) {
        std::uint64_t number = 0;
        const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (code == std::errc() && end == text.data() + text.size() && number >= least)
          return std::string();
        return fmt::format("'{}' is no whole number from {} on", text, least);
      },
      "");
}

CLI::Validator is_file() {
  return CLI::Validator(
      [](const std::string& text) {
        return std::string(text == "-" ? "'-' is no file, and stdout has the figures; name one"
                                       : "");
      },
      "");
}

// What both take: where the calls come from, in which world, and where the figures go.
void add_common(CLI::App& command, SimulateOptions& options) {
  CLI::Option* trace = command.add_option(
      "--trace", options.trace,
      "A trace: time_s,function,prompt_tokens,output_tokens, or one of Azure, Mooncake, ServeGen; "
      "- is stdin");
  command
      .add_option("--generate", options.kind,
                  "Or calls made up: poisson, bursts, diurnal, periodic")
      ->check(CLI::IsMember({"poisson", "bursts", "diurnal", "periodic"}))
      ->excludes(trace);
  command.add_option("--model", options.model,
                     "What the simulated machine is, a YAML file; else as measured");
  command.add_option("--devices", options.devices,
                     "Accelerators beside it, as A10G:4,T4:100; a --model file says more of them");
  command.add_option("--seed", options.seed, "Of all that is random")
      ->check(at_least(0))
      ->capture_default_str();
  command.add_option("--functions", options.functions, "How many are made up")
      ->check(CLI::Range(std::size_t{1}, domain::kFunctionsMax))
      ->capture_default_str();
  command.add_option("--tenants", options.tenants, "How many callers are kept apart")
      ->check(at_least(1))
      ->capture_default_str();
  command.add_option("--zipf", options.zipf, "How unevenly functions are called; 0 = all alike")
      ->capture_default_str();
  command.add_option("--rate", options.rate, "Calls a second, on average")->capture_default_str();
  add_duration(command, "--length", options.length, "How long; 1h when made up, else the trace");
  command.add_option("--requests", options.requests, "How many calls at most; 0 = all")
      ->check(at_least(0));
  command.add_option("--prompt-tokens", options.prompt_tokens,
                     "MEDIAN or MEDIAN:SIGMA of a lognormal, where a trace has none");
  command.add_option("--output-tokens", options.output_tokens, "The same of answers");
  add_duration(command, "--burst-every", options.burst_every, "Mean time between two bursts");
  add_duration(command, "--burst-length", options.burst_length, "Mean length of one");
  command.add_option("--burst-factor", options.burst_factor, "How many times the rate a burst has");
  add_duration(command, "--day", options.day, "Of diurnal calls");
  command.add_option("--low", options.low, "The night's share of the day's rate");
  add_duration(command, "--period", options.period, "Of periodic calls; each has up to twice that");
  add_duration(command, "--sort", options.sort, "How far rows of a trace may be out of order");
  command.add_option("--keep", options.keep, "Share of a trace's calls that are played")
      ->capture_default_str();
  command.add_option("--plot", options.plot, "Writes a picture, an SVG file")->check(is_file());
  // With a file, or alone as on every command.
  command
      .add_option_function<std::string>(
          "--json", [&options](const std::string& file) { options.json = file == "-" ? "" : file; },
          "Writes the figures to a file, or alone (or as -) to stdout")
      ->expected(0, 1)
      ->type_name("[FILE]");
}

void add_seeds(CLI::App& simulate, SimulateOptions& options) {
  CLI::Option* seeds =
      simulate.add_option("--seeds", options.seeds,
                          "FIRST..LAST: a scenario of its own for each, with trouble, all checked");
  simulate.add_option("--jobs", options.jobs, "Processes for --seeds; else as many as cores")
      ->check(CLI::Range(0, kJobsMax))
      ->needs(seeds);
  // A scenario makes up all of these itself.
  for (const char* other : {"--trace", "--generate", "--model", "--devices", "--log", "--plot",
                            "--faults", "--no-checks", "--time-turns"})
    seeds->excludes(simulate.get_option(other));
}

}  // namespace

void add_simulations(CLI::App& app, SimulateOptions& options, Simulation& chosen) {
  CLI::App* simulate = app.add_subcommand(
      "simulate", "Play traffic against the same decisions in virtual time, without a server");
  add_common(*simulate, options);
  simulate
      ->add_option("--log", options.log,
                   "Writes the decision log: every event and decision, for replay")
      ->check(is_file());
  simulate
      ->add_option("--faults", options.faults,
                   "So many things go wrong within the length, or the first hour")
      ->check(CLI::Range(0, kFaultsMax));
  simulate->add_flag("--no-checks", options.unchecked,
                     "Faster: without the rules that each turn must keep");
  simulate->add_flag("--time-turns", options.timed,
                     "Says how long the brain took for its turns, in processor time");
  add_seeds(*simulate, options);
  simulate->require_subcommand(0, 1);
  simulate->callback([&chosen] { chosen = Simulation::Simulate; });
  CLI::App* replay = simulate->add_subcommand(
      "replay", "Ask again with the events of a decision log; say where an answer differs");
  replay->add_option("file", options.replay, "The log")->required();
  replay->add_flag_callback(
      "--json", [&options] { options.json.emplace(); }, "The end as JSON");
  replay->add_flag("--other-policy", options.other_policy,
                   "Also a log of another policy version: says what is decided otherwise now");
  replay->callback([&options] { options.replays = true; });

  CLI::App* plan =
      app.add_subcommand("plan", "Say what traffic would need and cost, under each policy");
  add_common(*plan, options);
  plan->add_option("--policy", options.policies, "Only this one; may be repeated");
  plan->add_option("--starts", options.starts,
                   "Of all policies alike: executed, or forked from templates; else each its own")
      ->check(CLI::IsMember({"executed", "forked"}));
  plan->callback([&chosen] { chosen = Simulation::Plan; });
}

}  // namespace glowplug::cli
