// The setting `devices`: rows of accelerators, and at most one of the CPU, that stand for what is
// found on this machine.
//
// Thread: pure function.
#pragma once

#include <optional>
#include <vector>

#include <boost/json/value.hpp>

#include "domain/device.h"
#include "domain/price.h"
#include "models/manifest_fields.h"

namespace glowplug::app {

// Nothing when there were faults, each of which names its row. A CPU row without a size has none:
// 0 stands for what `memory` decides. Each type must have a price; `prices` null = not checked.
std::optional<std::vector<domain::Device>> read_devices(const boost::json::value& rows,
                                                        const domain::PriceTable* prices,
                                                        models::ManifestFields::Faults& faults);

}  // namespace glowplug::app
