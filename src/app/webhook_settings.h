// The setting `webhooks`: where this server may send them beside the public internet.
//
// Thread: pure function.
#pragma once

#include <optional>

#include <boost/json/value.hpp>

#include "models/manifest_fields.h"
#include "models/target_rule.h"

namespace glowplug::app {

// Nothing when there were faults, each of which names its field below `webhooks`.
std::optional<models::TargetRule> read_webhooks(const boost::json::value& value,
                                                models::ManifestFields::Faults& faults);

}  // namespace glowplug::app
