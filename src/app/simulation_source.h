// What `simulate` and `plan` share: the world and the calls that the command line asks for, files
// for their figures, and how a failure is told.
//
// Thread: the main thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "cli/console.h"
#include "cli/exit_code.h"
#include "cli/simulate_options.h"
#include "simulate/request.h"
#include "simulate/single_run.h"
#include "simulate/world_model.h"

namespace glowplug::app {

// By --model and --devices.
Result<simulate::WorldModel> world_of(const cli::SimulateOptions& options);
// By --trace or --generate, from its beginning.
Result<std::unique_ptr<simulate::RequestSource>> open_source(const cli::SimulateOptions& options);

// Figures go to stdout as JSON alone.
bool speaks_json(const cli::SimulateOptions& options);
Result<void> write_file(const std::string& path, const std::string& text);
// JSON to the file that --json names, if it names one; the picture to that of --plot.
Result<void> write_files(const cli::SimulateOptions& options, const std::string& json,
                         const std::string& plot);

Error usage_error(const std::string& what);
// What is wrong with a run: a rule that does not hold, else that no call came.
std::optional<Error> fault_of(const cli::SimulateOptions& options,
                              const simulate::RunOutcome& outcome);
// Tells it on err, and on out as JSON where that is wanted; returns the exit code.
int report_failure(const cli::SimulateOptions& options, const cli::Console& console,
                   const Error& error);

}  // namespace glowplug::app
