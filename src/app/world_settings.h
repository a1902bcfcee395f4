// The file of `glowplug simulate --model`: YAML or JSON that says what is different about the
// simulated machine (simulate/world_model.h). What it does not name stays as measured.
//
// Thread: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "simulate/world_model.h"

namespace glowplug::app {

// The error lists all faults, each with its field.
Result<simulate::WorldModel> read_world(std::string_view text);
Result<simulate::WorldModel> read_world_file(const std::string& path);
// What a replica has on an accelerator it has on this machine too, as a server reserves it.
void make_room_for_devices(simulate::Machine& machine);

}  // namespace glowplug::app
