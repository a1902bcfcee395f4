// One order to a worker: a JSON object in one message on its control channel, with descriptors.
//
// Thread: any. Errors: a channel that is closed or full; nothing was sent then.
#pragma once

#include <span>

#include <boost/json/object.hpp>

#include "base/result.h"

namespace glowplug::runtime {

// At least one descriptor and at most 64: they keep messages of a byte stream apart. The receiver
// gets copies.
Result<void> send_order(int control, const boost::json::object& fields,
                        std::span<const int> descriptors);

}  // namespace glowplug::runtime
