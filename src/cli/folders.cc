#include "cli/folders.h"

#include <cstdlib>

namespace glowplug::cli {
namespace {

struct Place {
  const char* own;
  const char* xdg;
  const char* below_home;
  const char* without_home;
};

std::string find(const Place& place) {
  if (std::string own = environment(place.own); !own.empty()) return own;
  // The XDG specification says that a relative path there is to be ignored.
  if (const std::string xdg = environment(place.xdg); xdg.starts_with('/'))
    return xdg + "/glowplug";
  if (const std::string home = environment("HOME"); !home.empty()) return home + place.below_home;
  return place.without_home;
}

}  // namespace

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string default_data_dir() {
  return find(
      {"GLOWPLUG_DATA_DIR", "XDG_DATA_HOME", "/.local/share/glowplug", "/var/lib/glowplug"});
}

std::string default_cache_dir() {
  return find({"GLOWPLUG_CACHE_DIR", "XDG_CACHE_HOME", "/.cache/glowplug", "/var/cache/glowplug"});
}

}  // namespace glowplug::cli
