// Functions, models and decisions as JSON objects of the API. Pure, but for reading the options'
// memory probe. Thread: the server loop.
#pragma once

#include <string_view>

#include <boost/json/object.hpp>

#include "control/views.h"
#include "gateway/gateway.h"

namespace glowplug::gateway {

boost::json::object function_object(const control::FunctionView& view,
                                    const GatewayOptions& options, Time now);
// The function with its manifest: what GET /v1/functions/{name} answers.
boost::json::object function_document(const control::FunctionView& view,
                                      const GatewayOptions& options, Time now);
// What changes while a function is fetched or loads, without asking for memory: it is said often.
boost::json::object progress_object(const control::FunctionView& view);
boost::json::object manifest_object(const domain::Manifest& manifest);
boost::json::object model_object(const control::FunctionView& view, std::int64_t created);

}  // namespace glowplug::gateway
