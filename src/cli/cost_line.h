// `glowplug cost estimate` on the command line.
//
// Thread: before the command runs.
#pragma once

#include <functional>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace glowplug::cli {

// Fills in `options` and `command` where the line says cost; both outlive the parsing.
void add_cost(CLI::App& app, CostOptions& options, std::function<int(const Context&)>& command);

}  // namespace glowplug::cli
