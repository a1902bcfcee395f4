// Lambda-style calls: an event in, an envelope {statusCode, headers, body} out, with the HTTP
// status mirroring statusCode. Thread: the server loop.
#pragma once

#include "gateway/exchange.h"

namespace glowplug::gateway {

Coroutine<> run_invoke(Exchange& exchange);

}  // namespace glowplug::gateway
