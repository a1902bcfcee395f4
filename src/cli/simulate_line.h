// `simulate` and `plan` on the command line. Thread: called once, on the main thread.
#pragma once

#include <functional>

#include "cli/simulate_options.h"

namespace CLI {
class App;
}

namespace glowplug::cli {

enum class Simulation { None, Simulate, Plan };

// Both commands; `chosen` becomes the one that was given. The options outlive the parsing.
void add_simulations(CLI::App& app, SimulateOptions& options, Simulation& chosen);

}  // namespace glowplug::cli
