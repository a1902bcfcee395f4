// `glowplug serve`: constructs the parts, connects them, runs the loop until told to stop. Holds no
// decision.
//
// Thread: the calling thread becomes the server loop.
#pragma once

#include "cli/command_line.h"

namespace glowplug::app {

// The process's exit code: 0 after a clean drain, 1 when it could not start, 2 when its settings
// are at fault.
int serve(const cli::ServeOptions& options, const std::string& version,
          const std::string& engine_commit);

}  // namespace glowplug::app
