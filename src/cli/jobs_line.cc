#include "cli/jobs_line.h"

#include <CLI/CLI.hpp>

namespace glowplug::cli {
namespace {

CLI::App* add(CLI::App& app, const char* name, const char* what) {
  CLI::App* command = app.add_subcommand(name, what);
  command->fallthrough();  // --json, --url and --admin-url may follow the command
  command->footer("Also on every command: --json, --url URL, --admin-url URL.");
  return command;
}

void add_limit(CLI::App& command, int& limit) {
  command.add_option("--limit", limit, "How many of a list")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
}

}  // namespace

void add_jobs(CLI::App& app, JobsLine& line, std::function<int(const Context&)>& chosen) {
  CLI::App* command = add(app, "jobs", "List jobs, show one, wait for it, cancel, retry, remove");
  JobsOptions& options = line.jobs;
  command->add_option("words", options.words, "ID, or cancel, retry or rm and an ID");
  command->add_option("--status", options.status, "Only these")
      ->check(
          CLI::IsMember({"queued", "in_progress", "completed", "failed", "cancelled", "expired"}));
  command->add_option("--function", options.function, "Only those of this function");
  add_limit(*command, options.limit);
  command->add_flag("--wait", options.wait, "Return once it is over; 1 where it has not completed");
  command->callback([&line, &chosen] {
    chosen = [&line](const Context& context) { return jobs(context, line.jobs); };
  });

  CLI::App* dead =
      add(app, "dead-letters", "List jobs whose attempts are used up, or redrive them");
  dead->add_option("words", line.dead_letters.words, "redrive, and the IDs; all without one");
  add_limit(*dead, line.dead_letters.limit);
  dead->callback([&line, &chosen] {
    chosen = [&line](const Context& context) { return dead_letters(context, line.dead_letters); };
  });
}

}  // namespace glowplug::cli
