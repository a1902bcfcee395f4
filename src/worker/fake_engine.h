// A replica without a model, for tests and simulations of everything around it: the same protocol
// and the same HTTP routes over the Unix socket, deterministic answers at a set pace, and faults on
// request.
//
// Thread: run from main; its HTTP is in fake_server.h.
#pragma once

#include <chrono>

#include "worker/control_channel.h"
#include "worker/options.h"
#include "worker/sandbox.h"

namespace glowplug::worker {

// Returns the process's exit status.
[[nodiscard]] int run_fake_engine(Options options, ControlChannel& channel, UniqueFd lifeline,
                                  SandboxReport sandbox,
                                  std::chrono::steady_clock::time_point started);

}  // namespace glowplug::worker
