// The replica's life on llama.cpp: load, warm up, serve, stop. Everything the engine prints or
// asserts on the way to ready becomes a cause on the control channel.
//
// Thread: call once, from main; it runs the engine's loop on that thread. Holds no HTTP code
// (llama_http.h does).
#pragma once

#include <chrono>

#include "worker/control_channel.h"
#include "worker/options.h"
#include "worker/sandbox.h"

namespace glowplug::worker {

// Returns the process's exit status.
[[nodiscard]] int run_llama_engine(const Options& options, ControlChannel& channel,
                                   UniqueFd lifeline, SandboxReport sandbox,
                                   std::chrono::steady_clock::time_point started);

}  // namespace glowplug::worker
