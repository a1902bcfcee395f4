// Faults of the fake engine that strike at a request or at a token: what a broken engine, a request
// that breaks it, or hostile code would do in the very process that serves.
//
// Thread: any. What crashes does not return.
#pragma once

#include <boost/json/object.hpp>

#include "worker/options.h"

namespace glowplug::worker {

// Before the first token of its answer.
void strike_request(const FakeOptions& fake, const boost::json::object& request);
// Before the token that follows `emitted` others of its answer.
void strike_token(const FakeOptions& fake, int emitted);

}  // namespace glowplug::worker
