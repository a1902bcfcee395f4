// One call of a function: wait for a replica, relay, give the slots back exactly once.
//
// While it waits or streams, its caller's leaving and the function's timeout end it at once. Where
// a replica fails before a client got a byte, the request is tried once more by a new call, which
// gets a replica to itself; a job is tried again by its queue.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "gateway/caller.h"
#include "gateway/openai_request.h"

namespace glowplug::gateway {

enum class TryAgain { No, Once };  // after a replica that failed before its caller got a byte

struct CallPlan {
  std::string function;
  std::string path;  // at the replica
  std::string body;
  Surface surface = Surface::Chat;
  RequestShape shape;
  domain::PromptLinks prompt;
  TryAgain try_again = TryAgain::Once;
  std::optional<domain::CallId> retry_of;  // an earlier call of this request, whose replica broke
  domain::JobUrgency urgency = domain::JobUrgency::Interactive;
};

struct CallResult {
  bool caller_gone = false;
  bool streamed = false;               // the caller has the answer, or as much as there was of it
  std::optional<ErrorAnswer> failure;  // otherwise the answer is below
  int retry_after_s = 0;
  int status = 0;
  std::string body;
  std::string content_type;
  std::string broken_by;      // of an answer that was streamed and broke: the error's code
  std::string headers;        // x-glowplug-… lines
  domain::PhaseTimes phases;  // for the Server-Timing line of what was not streamed
  std::optional<std::uint64_t> bytes_read;  // for the same: of the start that was waited for
  Usage usage;
  domain::CallId call{};  // the last one
  bool sent = false;      // to a replica
  bool may_retry = false;
  // Its connection ended in the midst of the answer; also where another try is then refused.
  bool replica_broke = false;
};

Coroutine<CallResult> perform(CallContext& context, Caller& caller, const CallPlan& plan);

// The engine's own clock tells prefill and decode apart, where the gateway's may see their sum.
void take_engine_times(domain::PhaseTimes& phases, const Usage& usage);

// The x-glowplug-… and Server-Timing lines of an answer that was not streamed.
std::string header_lines(const CallResult& result);

}  // namespace glowplug::gateway
