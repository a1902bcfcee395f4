// `glowplug plan`: the same calls under each policy, and what each would need and cost.
//
// Thread: the main thread.
#pragma once

#include "cli/console.h"
#include "cli/simulate_options.h"

namespace glowplug::app {

// The exit code; a failure is told on the console's err, and as JSON on out where that was wanted.
int plan(const cli::SimulateOptions& options, const cli::Console& console);

}  // namespace glowplug::app
