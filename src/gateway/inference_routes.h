// What the inference routes and invoke share: finding the function and turning a request into a
// call. Thread: the server loop. Private to gateway/.
#pragma once

#include <string>

#include <boost/json/object.hpp>

#include "gateway/inference_call.h"

namespace glowplug::gateway {

Error unknown_model(const Server& server, const std::string& model);
Result<CallPlan> plan_call(Exchange& exchange, Surface surface, const boost::json::object& request,
                           const control::FunctionView& view);
// Rewrites a whole answer, or turns a replica's refusal into a failure.
void finish_answer(CallResult& result, const std::string& function, int context);

}  // namespace glowplug::gateway
