// The stages of a request, in order: parse the target → find the route → answer.
//
// The request id is given before the first stage, so that every refusal carries one. No keys exist
// in this version, so nothing is authenticated and both listeners are bound to loopback only.
//
// Thread: the server loop.
#pragma once

#include "gateway/exchange.h"

namespace glowplug::gateway {

Coroutine<> run_pipeline(Exchange& exchange);

}  // namespace glowplug::gateway
