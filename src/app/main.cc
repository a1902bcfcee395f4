// One binary: `glowplug serve` is the server, every other command is its client.
#include "app/planner.h"
#include "app/server.h"
#include "app/simulator.h"
#include "cli/command_line.h"

int main(int argc, char** argv) {
  const std::string version = GLOWPLUG_VERSION;
  const std::string engine = GLOWPLUG_ENGINE_COMMIT;
  const glowplug::cli::ServeHooks hooks{
      .serve =
          [&version, &engine](const glowplug::cli::ServeOptions& options) {
            return glowplug::app::serve(options, version, engine);
          },
      .simulate =
          [&version](const glowplug::cli::SimulateOptions& options,
                     const glowplug::cli::Console& console) {
            return glowplug::app::simulate(options, console, version);
          },
      .plan = &glowplug::app::plan,
      .version = version,
      .engine_commit = engine,
  };
  return glowplug::cli::run_client(argc, argv, hooks);
}
