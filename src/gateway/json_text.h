// Request bodies as JSON, under our limits: the position of a fault, a depth of 64, and no second
// `model`. Thread: pure functions.
#pragma once

#include <string_view>

#include <boost/json/object.hpp>

#include "base/result.h"

namespace glowplug::gateway {

Result<boost::json::object> parse_object(std::string_view text);

}  // namespace glowplug::gateway
