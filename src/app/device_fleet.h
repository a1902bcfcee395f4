// The accelerators of a server: what its settings declare, else what the GPU driver tells.
//
// Thread: used once, before the loop. Says in the log what is found, and what is left out and why.
#pragma once

#include <vector>

#include "app/server_config.h"
#include "domain/device.h"

namespace glowplug::app {

std::vector<domain::Device> accelerators(const ServerConfig& config);

}  // namespace glowplug::app
