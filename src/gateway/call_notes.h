// What is noted of a call on its way: its line in the call log and its counts in the metrics, at
// the same moments.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <string>

#include "gateway/call_context.h"
#include "gateway/inference_call.h"

namespace glowplug::gateway {

void note_arrival(CallContext& context, const CallPlan& plan);
void note_grant(CallContext& context, const control::Grant& grant);
void note_first_byte(CallContext& context, const std::string& function);
// Before the answer goes out, or once a stream has ended.
void note_end(CallContext& context, const std::string& function, const CallResult& result);
// With the tokens of the whole prompt: where an answer counts those from kept state apart, with
// them.
Usage metered(const CallContext& context, const Usage& usage);
// Of a function that exists, for a request that could not become a call.
void note_refusal(CallContext& context, const std::string& function, const ErrorAnswer& answer);

}  // namespace glowplug::gateway
