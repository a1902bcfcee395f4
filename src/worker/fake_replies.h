// The fake engine's answers as whole JSON bodies, in the form of each API that the gateway speaks.
//
// Thread: pure. Streams are in fake_stream.h.
#pragma once

#include <string>

#include <boost/json/object.hpp>

#include "worker/fake_answer.h"

namespace glowplug::worker {

[[nodiscard]] std::string reply_body(const Answer& answer);

// OpenAI's usage object: prompt, completion and total tokens, none of the prompt's from a cache.
[[nodiscard]] boost::json::object openai_usage(const Answer& answer);
// The usage objects of /v1/responses and /v1/messages.
[[nodiscard]] boost::json::object responses_usage(const Answer& answer);
[[nodiscard]] boost::json::object messages_usage(const Answer& answer, int output_tokens);

// The response object of /v1/responses; without output while it is in progress.
[[nodiscard]] boost::json::object response_object(const Answer& answer, bool finished);
// Its one output item.
[[nodiscard]] boost::json::object response_item(const Answer& answer, bool finished);

// Anthropic's word for why a choice ended.
[[nodiscard]] std::string messages_stop_reason(const Choice& choice);

[[nodiscard]] std::string call_id(const Answer& answer, std::size_t choice);

}  // namespace glowplug::worker
