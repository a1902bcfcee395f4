// Errors as callers read them: OpenAI's object, Anthropic's object, and what an engine says turned
// into ours.
//
// Every error body has exactly message, type, param and code; code is a string or null, also where
// an engine wrote a number. Status, type and retry advice come from api/errors.yaml.
//
// Thread: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace glowplug::gateway {

struct ErrorAnswer {
  int status = 500;
  std::string type;
  std::string code;  // empty reads as null
  std::string message;
  std::string param;  // empty reads as null
  bool retry = false;
};

ErrorAnswer to_answer(const Error& error);
std::string error_json(const ErrorAnswer& answer);

// Anthropic's shape and status (overload is 529 there).
int anthropic_status(const ErrorAnswer& answer);
std::string anthropic_error_json(const ErrorAnswer& answer, std::string_view request_id);

// A replica's own error answer, rewritten. `context` is the function's context in tokens.
ErrorAnswer from_engine(int status, std::string_view body, int context);

}  // namespace glowplug::gateway
