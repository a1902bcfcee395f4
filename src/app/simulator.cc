#include "app/simulator.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <thread>

#include <boost/json.hpp>
#include <fmt/format.h>

#include "app/seed_runner.h"
#include "app/simulation_source.h"
#include "base/units.h"
#include "cli/table.h"
#include "control/decision_log.h"
#include "domain/errors.h"
#include "simulate/line_reader.h"
#include "simulate/report.h"
#include "simulate/single_run.h"

namespace glowplug::app {
namespace {

using cli::Align;
using cli::Console;
using cli::ExitCode;
using cli::SimulateOptions;

Error cannot_write(const std::string& path) {
  return {std::string(domain::error::kInvalidValue), fmt::format("'{}' cannot be written", path),
          ""};
}

double seconds_since(std::chrono::steady_clock::time_point began) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// --- one run ---

// Of this thread, so that what else runs here takes nothing away.
Duration processor_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

int show_run(const SimulateOptions& options, const Console& console,
             const simulate::RunOutcome& outcome, const simulate::WorldModel& world,
             double wall_s) {
  const std::string json = simulate::report_json(outcome.figures, world) + "\n";
  const std::string title = fmt::format(
      "{}, seed {}", options.trace.empty() ? options.kind : options.trace, options.seed);
  if (const auto written =
          write_files(options, json, simulate::report_plot(title, outcome.figures));
      !written)
    return report_failure(options, console, written.error());
  if (speaks_json(options)) {
    console.out << json << std::flush;
  } else {
    std::vector<std::vector<std::string>> rows;
    for (const simulate::ReportRow& row : simulate::report_rows(outcome.figures, world))
      rows.push_back({row.what, row.value, row.more});
    if (options.faults > 0) rows.push_back({"faults", std::to_string(outcome.faults), ""});
    console.out << cli::layout_table({{""}, {"", Align::Right}, {""}}, rows) << std::flush;
    const double calls = static_cast<double>(outcome.figures.calls);
    console.err << fmt::format("{} turns in {:.2f} s, {:.0f} calls a second\n", outcome.turns,
                               wall_s, wall_s > 0 ? calls / wall_s : 0)
                << std::flush;
  }
  return cli::to_int(ExitCode::Done);
}

int simulate_once(const SimulateOptions& options, const Console& console,
                  const std::string& version) {
  const auto world = world_of(options);
  if (!world) return report_failure(options, console, world.error());
  auto source = open_source(options);
  if (!source) return report_failure(options, console, source.error());
  std::ofstream log;
  if (!options.log.empty()) {
    log.open(options.log, std::ios::binary | std::ios::trunc);
    if (!log) return report_failure(options, console, cannot_write(options.log));
  }
  simulate::RunSetup setup{
      .model = *world,
      .seed = options.seed,
      .faults = options.faults,
      .build = "glowplug " + version,
      .checks = options.unchecked ? simulate::Checks::Off : simulate::Checks::On};
  if (options.length || options.trace.empty())
    setup.trouble_length = options.length.value_or(std::chrono::hours(1));
  if (options.timed) setup.stopwatch = processor_time;
  if (log.is_open()) setup.log = [&log](std::string_view lines) { log << lines; };
  const auto began = std::chrono::steady_clock::now();
  const auto outcome = simulate::run_once(setup, **source);
  const double wall_s = seconds_since(began);
  if (!outcome) return report_failure(options, console, outcome.error());
  const auto fault = fault_of(options, *outcome);
  if (fault && outcome->figures.calls == 0) return report_failure(options, console, *fault);
  if (log.is_open()) {
    log.close();
    if (!log) return report_failure(options, console, cannot_write(options.log));
  }
  const int shown = show_run(options, console, *outcome, *world, wall_s);
  return fault && shown == cli::to_int(ExitCode::Done) ? report_failure(options, console, *fault)
                                                       : shown;
}

// --- many seeds ---

std::string json_of(const SeedTotals& totals) {
  return fmt::format(
      "{{\"seeds\":{},\"failed\":{},\"calls\":{},\"calls_least\":{},\"answered\":{},\"cold\":{},"
      "\"faults\":{},\"faults_least\":{},\"turns\":{},\"virtual_seconds\":{:.3f},"
      "\"digest\":\"{:016x}\"}}\n",
      totals.seeds, totals.failed, totals.calls, totals.fewest_calls, totals.answered, totals.cold,
      totals.faults, totals.fewest_faults, totals.turns, totals.virtual_seconds, totals.digest);
}

std::string table_of(const SeedTotals& totals) {
  return cli::layout_table(
      {{""}, {"", Align::Right}, {""}},
      {{"seeds", std::to_string(totals.seeds), fmt::format("{} failed", totals.failed)},
       {"calls", std::to_string(totals.calls),
        fmt::format("{} in a seed at least, {} answered, {} cold", totals.fewest_calls,
                    totals.answered, totals.cold)},
       {"faults", std::to_string(totals.faults),
        fmt::format("{} in a seed at least", totals.fewest_faults)},
       {"turns of the brain", std::to_string(totals.turns), "all checked"},
       {"virtual time", fmt::format("{:.1f} days", totals.virtual_seconds / 86400),
        fmt::format("digest {:016x}", totals.digest)}});
}

int simulate_seeds(const SimulateOptions& options, const Console& console) {
  const auto range = parse_seeds(options.seeds);
  if (!range) return report_failure(options, console, usage_error(range.error().message));
  const int jobs =
      options.jobs > 0 ? options.jobs : static_cast<int>(std::thread::hardware_concurrency());
  const auto began = std::chrono::steady_clock::now();
  std::uint64_t told = 0;
  const auto progress = [&](std::uint64_t done) {
    if (!console.err_is_tty || done < told + 100) return;
    told = done;
    console.err << fmt::format("\r{} of {}", done, range->last - range->first + 1) << std::flush;
  };
  const auto totals = run_seeds(*range, jobs, progress);
  if (told > 0) console.err << "\r\x1b[K";
  if (!totals) return report_failure(options, console, totals.error());
  if (const auto written = write_files(options, json_of(*totals), ""); !written)
    return report_failure(options, console, written.error());
  if (speaks_json(options)) {
    console.out << json_of(*totals) << std::flush;
  } else {
    console.out << table_of(*totals) << std::flush;
    console.err << fmt::format("{:.1f} s with {} {}\n", seconds_since(began), jobs,
                               jobs == 1 ? "process" : "processes")
                << std::flush;
  }
  for (const SeedFailure& failure : totals->failures)
    console.err << fmt::format("seed {}: {}\n", failure.seed, failure.what) << std::flush;
  return cli::to_int(totals->failed == 0 ? ExitCode::Done : ExitCode::Failed);
}

// --- a log once more ---

// Where it broke off, or why it ends; nothing of one that is whole.
std::string ending(const control::Replay& replay, bool torn) {
  if (!replay.end())
    return fmt::format("the log breaks off {} turn {}: its writer was killed, or writes still\n",
                       torn ? "within" : "after", replay.turns() + (torn ? 1 : 0));
  if (*replay.end() == control::kLogClosed) return "";
  return fmt::format("the log ends before its writer did: {}\n", *replay.end());
}

int show_replay(const SimulateOptions& options, const Console& console,
                const control::Replay& replay, bool torn) {
  if (speaks_json(options)) {
    boost::json::object said{{"turns", replay.turns()},
                             {"lines", replay.lines()},
                             {"same", true},
                             {"policy", replay.origin().policy},
                             {"build", replay.origin().build},
                             {"end", nullptr},
                             {"torn", torn}};
    if (replay.end()) said["end"] = *replay.end();
    console.out << boost::json::serialize(said) << "\n" << std::flush;
    return cli::to_int(ExitCode::Done);
  }
  console.out << fmt::format("{} turns in {} lines: each is decided as it was\n", replay.turns(),
                             replay.lines())
              << std::flush;
  console.err << ending(replay, torn) << std::flush;
  return cli::to_int(ExitCode::Done);
}

int replay(const SimulateOptions& options, const Console& console) {
  auto lines = simulate::LineReader::open(options.replay, simulate::kLogLineBytesMax);
  if (!lines) return report_failure(options, console, lines.error());
  const auto failed = [&](std::string_view code, const std::string& what) {
    return report_failure(options, console, {std::string(code), what, "log"});
  };
  control::Replay replay(options.other_policy ? control::OtherPolicy::Replay
                                              : control::OtherPolicy::Refuse);
  bool torn = false;  // in the midst of its last line
  while (true) {
    const auto line = lines->next();
    if (!line) return report_failure(options, console, line.error());
    if (!*line) break;
    torn = !lines->whole() && lines->line() > 1;
    if (torn) break;
    const auto same = replay.take(**line);
    if (!same) return failed(same.error().code, options.replay + ": " + same.error().message);
    if (*same) continue;
    const control::Replay::Difference& difference = *replay.difference();
    return failed(
        domain::error::kServerError,
        fmt::format("{}:{}: this is decided otherwise now\n  logged  {}\n  decided {}",
                    options.replay, difference.line, difference.logged, difference.decided));
  }
  if (replay.turns() == 0)
    return failed(domain::error::kInvalidValue,
                  fmt::format("{}: the log has no turn", options.replay));
  return show_replay(options, console, replay, torn);
}

}  // namespace

int simulate(const SimulateOptions& options, const Console& console, const std::string& version) {
  if (options.replays) return replay(options, console);
  if (!options.seeds.empty()) return simulate_seeds(options, console);
  return simulate_once(options, console, version);
}

}  // namespace glowplug::app
