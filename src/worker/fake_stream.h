// The fake engine's answers as server-sent events, one piece per token, in the form of each API.
// The caller asks for the opening, then every piece in any order that keeps each choice's own, then
// the closing, and sets the pace.
//
// Thread: one stream, one thread. Holds a reference to the answer, which outlives it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <boost/json/fwd.hpp>

#include "worker/fake_answer.h"

namespace glowplug::worker {

class AnswerStream {
 public:
  virtual ~AnswerStream() = default;
  virtual std::string opening() = 0;
  virtual std::string piece(std::size_t choice, std::size_t index) = 0;
  virtual std::string closing() = 0;
};

[[nodiscard]] std::unique_ptr<AnswerStream> make_stream(const Answer& answer);

// The two families: chunks that end with [DONE], and events with names.
[[nodiscard]] std::unique_ptr<AnswerStream> make_chunk_stream(const Answer& answer);
[[nodiscard]] std::unique_ptr<AnswerStream> make_responses_stream(const Answer& answer);
[[nodiscard]] std::unique_ptr<AnswerStream> make_messages_stream(const Answer& answer);

// One event; without a name when name is empty.
[[nodiscard]] std::string sse_event(std::string_view name, const boost::json::object& data);

}  // namespace glowplug::worker
