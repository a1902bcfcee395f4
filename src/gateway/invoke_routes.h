// Lambda-style calls: an event in, an envelope {statusCode, headers, body} out, with the HTTP
// status mirroring statusCode. Thread: the server loop. Private to gateway/.
#pragma once

#include <string>

#include <boost/json/object.hpp>

#include "gateway/exchange.h"
#include "gateway/inference_routes.h"

namespace glowplug::gateway {

enum class BodyForm { Object, Text };

// Read step by step, as a ReadCall.
struct InvokeCall {
  ReadCall call;
  boost::json::object payload;  // of the event
  BodyForm form = BodyForm::Object;
  bool process = false;  // the function is the caller's own process: it gets and gives envelopes
};

// `name`: of the route; empty = the payload's model.
Result<void> read_invoke(const Server& server, const std::string& name, const std::string& body,
                         Purpose purpose, InvokeCall& invoke);

// The answer to an event that could not become a call; notes it.
Reply refuse_invoke(CallContext& context, const InvokeCall& invoke, const ErrorAnswer& answer);

// What its replica said, in our words; a process's own it leaves.
void finish_invoke(const InvokeCall& invoke, CallResult& result);

// To a caller who is there.
Reply invoke_reply(CallContext& context, const InvokeCall& invoke, CallResult& result);

Coroutine<> run_invoke(Exchange& exchange);

}  // namespace glowplug::gateway
