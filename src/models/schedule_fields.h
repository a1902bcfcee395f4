// `schedule:` of a manifest, read and written:
//
//   schedule:
//     - {days: mon-fri, from: "08:30", until: "18:00", tier: replica, count: 2}
//
// Thread: pure functions.
#pragma once

#include <boost/json/array.hpp>

#include "domain/manifest.h"
#include "models/manifest_fields.h"

namespace glowplug::models {

void read_schedule(ManifestFields& fields, domain::Manifest& manifest);

boost::json::array schedule_array(const domain::Schedule& schedule);

}  // namespace glowplug::models
