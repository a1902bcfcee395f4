// Where data and downloaded models live when no option says so, from the environment.
// Thread: reads the environment; call before threads that change it.
#pragma once

#include <string>

namespace glowplug::cli {

std::string
default_data_dir();  // GLOWPLUG_DATA_DIR, $XDG_DATA_HOME/glowplug, ~/.local/share/glowplug
std::string default_cache_dir();  // GLOWPLUG_CACHE_DIR, $XDG_CACHE_HOME/glowplug, ~/.cache/glowplug
std::string environment(const char* name);  // empty when unset

}  // namespace glowplug::cli
