// `files`, `batch` and `batches` on the command line. Thread: called once, on the main thread.
#pragma once

#include <functional>

#include "cli/commands.h"

namespace CLI {
class App;
}

namespace glowplug::cli {

struct BatchLine {
  FilesOptions files;
  BatchOptions batch;
};

// `command` becomes the one that was given. Both outlive the parsing.
void add_batches(CLI::App& app, BatchLine& line, std::function<int(const Context&)>& command);

}  // namespace glowplug::cli
