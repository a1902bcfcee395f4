// What `glowplug usage` takes on the command line. Thread: one command at a time.
#pragma once

#include <functional>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace glowplug::cli {

// `command` becomes it when it was given. Both outlive it.
void add_usage(CLI::App& app, UsageOptions& options, std::function<int(const Context&)>& command);

}  // namespace glowplug::cli
