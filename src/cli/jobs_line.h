// `jobs` and `dead-letters` on the command line. Thread: called once, on the main thread.
#pragma once

#include <functional>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace glowplug::cli {

struct JobsLine {
  JobsOptions jobs;
  DeadLettersOptions dead_letters;
};

// Both commands; `chosen` becomes the one that was given. `line` outlives the parsing.
void add_jobs(CLI::App& app, JobsLine& line, std::function<int(const Context&)>& chosen);

}  // namespace glowplug::cli
