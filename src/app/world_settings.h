// The file of `glowplug simulate --model`: YAML or JSON that says what is different about the
// simulated machine (simulate/world_model.h). What it does not name stays as measured.
//
// Thread: pure functions.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"
#include "simulate/world_model.h"

namespace glowplug::app {

// The error lists the faults, each with its field. A model file's path begins at `folder`.
Result<simulate::WorldModel> read_world(std::string_view text,
                                        const std::filesystem::path& folder = {});
Result<simulate::WorldModel> read_world_file(const std::string& path);  // at the file's own folder
// What a replica has on an accelerator it has on this machine too, as a server reserves it.
void make_room_for_devices(simulate::Machine& machine);

}  // namespace glowplug::app
