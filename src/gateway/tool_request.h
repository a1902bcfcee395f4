// The tools of a request and which of them must be called, checked before a replica sees them.
//
// Three dialects: chat nests a function's name, responses and messages keep it at the top. A choice
// that names no tool of the request is an error here, because an engine would quietly answer
// without a call.
//
// Thread: pure functions.
#pragma once

#include <boost/json/object.hpp>

#include "base/result.h"
#include "domain/manifest.h"
#include "domain/model_facts.h"
#include "gateway/openai_request.h"

namespace glowplug::gateway {

Result<void> check_tools(Surface surface, const boost::json::object& request);

// Refuses tools that the chat template of this model cannot express.
Result<void> check_tool_template(const domain::Manifest& manifest, const domain::ModelFacts& facts);

}  // namespace glowplug::gateway
