// `glowplug webhooks` on the command line: its verbs and what they take.
//
// Thread: before the command runs.
#pragma once

#include <functional>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace glowplug::cli {

// Fills in `options` and `command` where the line says webhooks; both outlive the parsing.
void add_webhooks(CLI::App& app, WebhooksOptions& options,
                  std::function<int(const Context&)>& command);

}  // namespace glowplug::cli
