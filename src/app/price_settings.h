// The setting `prices`: rows that come beside those of the default table, or in place of them.
//
// Thread: pure function.
#pragma once

#include <optional>

#include <boost/json/value.hpp>

#include "domain/price.h"
#include "models/manifest_fields.h"

namespace glowplug::app {

// The whole table; nothing when there were faults, each of which names its field below `prices`.
std::optional<domain::PriceTable> read_prices(const boost::json::value& rows,
                                              models::ManifestFields::Faults& faults);

}  // namespace glowplug::app
