// How the inference routes, and invoke with them, read a call and word its answer: the same for a
// client and for a job. Thread: the server loop. Private to gateway/.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "gateway/inference_call.h"

namespace glowplug::gateway {

Error unknown_model(const Server& server, const std::string& model);

// Never: the answer comes as a whole, whatever the request says of a stream or the background.
enum class Streams { AsAsked, Never };
// Check: the request is judged alone; its plan gets no body for a replica.
enum class Purpose { Call, Check };
struct Reading {
  Streams streams = Streams::AsAsked;
  Purpose purpose = Purpose::Call;
};

// A request as a call, read step by step: what is known at a fault stands here too.
struct ReadCall {
  std::string function;  // that exists; empty while none is known
  int context = 0;       // its, in tokens
  CallPlan plan;
};

// `request`: what stands against `how` is taken out of it.
Result<CallPlan> plan_call(const Server& server, Surface surface, boost::json::object& request,
                           const control::CalleeView& callee, Reading how);

Result<void> read_inference(const Server& server, Surface surface, std::string_view body,
                            Reading how, ReadCall& call);

// The answer to a request that could not become a call; notes it.
Reply refuse_inference(CallContext& context, const ReadCall& call, const ErrorAnswer& answer);

// Rewrites a whole answer, or turns a replica's refusal into a failure.
void finish_answer(CallResult& result, const std::string& function, int context);

// Of what was not streamed, to a caller who is there.
Reply inference_reply(CallContext& context, const ReadCall& call, CallResult& result);

}  // namespace glowplug::gateway
