// The smallest JSON value that a JSON Schema allows, for the fake engine's structured answers:
// required properties only, minimum lengths and counts, the first of every enum, anyOf and oneOf;
// $ref into the schema itself.
//
// Thread: pure. Not a validator: keywords that narrow a value in other ways (pattern, not, if) are
// ignored.
#pragma once

#include <boost/json/value.hpp>

namespace glowplug::worker {

[[nodiscard]] boost::json::value minimal_instance(const boost::json::value& schema);

}  // namespace glowplug::worker
