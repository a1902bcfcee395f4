// The role "measure" on the built-in engine: reads a prompt and answers it several times, in steps
// of the length that serving would take, and prints the line that measure.h describes.
//
// Thread: the one that loaded the engine. Serves nothing and opens nothing.
#pragma once

#include <chrono>

#include "worker/measure.h"

struct llama_context;

namespace glowplug::worker {

struct MeasureTask {
  const Options& options;
  int batch = 0;
  bool repacked = false;
  std::chrono::steady_clock::time_point started;  // of the program
};

// Returns the exit status.
int measure_engine(llama_context* context, const MeasureTask& task, const MemoryProbe& memory);

}  // namespace glowplug::worker
