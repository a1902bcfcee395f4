// Turns the worker's options into the engine's parameters. They are filled in here and nowhere
// else: neither the environment nor a configuration file takes part, so one command line always
// means one engine.
//
// Thread: pure but for reading the model file's header and the chat template file.
#pragma once

#include "base/result.h"
#include "common.h"
#include "worker/options.h"

namespace glowplug::worker {

// The error's message is the cause that the control channel reports.
[[nodiscard]] Result<common_params> engine_params(const Options& options);

}  // namespace glowplug::worker
