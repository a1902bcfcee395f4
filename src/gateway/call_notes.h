// What is noted of a call on its way: its line in the call log and its counts in the metrics, at
// the same moments.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <string>

#include "gateway/exchange.h"
#include "gateway/inference_call.h"

namespace glowplug::gateway {

void note_arrival(Exchange& exchange, const CallPlan& plan);
void note_grant(Exchange& exchange, const control::Grant& grant);
void note_first_byte(Exchange& exchange, const std::string& function);
// Before the answer goes out, or once a stream has ended.
void note_end(Exchange& exchange, const std::string& function, const CallResult& result);
// Of a function that exists, for a request that could not become a call.
void note_refusal(Exchange& exchange, const std::string& function, const ErrorAnswer& answer);

}  // namespace glowplug::gateway
