// The known name closest to a mistyped one, for messages that say "did you mean".
//
// Thread: pure function.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace glowplug::models {

// Empty when nothing is close: more than a third of the letters would have to change.
std::string nearest_name(std::string_view wrong, const std::vector<std::string_view>& known);

}  // namespace glowplug::models
