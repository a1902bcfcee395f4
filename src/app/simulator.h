// `glowplug simulate`: files and options in, runs of simulate/, a table, JSON and a picture out. No
// server is asked.
//
// Thread: the main thread; `simulate` with seeds forks.
#pragma once

#include "cli/console.h"
#include "cli/simulate_options.h"

namespace glowplug::app {

// The exit code; a failure is told on the console's err, and as JSON on out where that was wanted.
int simulate(const cli::SimulateOptions& options, const cli::Console& console,
             const std::string& version);

}  // namespace glowplug::app
