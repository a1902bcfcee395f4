// Server-sent events between replica and client, without I/O: bytes in, bytes out.
//
// Chunks get the function's name as model; usage is always read for metering and shown only where
// it was asked for, as OpenAI does it: null on every chunk, then one last chunk with empty choices.
// The engine's private timings become the phases prefill and decode of that last chunk. An error
// event of the engine ends the stream as a failure.
//
// Thread: one owner per stream.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "domain/phase.h"
#include "gateway/openai_request.h"

namespace glowplug::gateway {

// What the engine says of its work on one request.
struct Usage {
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
  std::uint64_t cached_tokens = 0;  // of the prompt, that came from kept state
  std::optional<Duration> prefill, decode;
};

struct StreamOptions {
  Surface surface = Surface::Chat;
  std::string model;
  bool include_usage = false;
  std::string id;             // of a message, where the engine leaves its start out
  domain::PhaseTimes waited;  // before the replica had the request; shown with the usage
  std::function<boost::json::object()> cost = {};  // asked once, for the usage; none = not shown
};

class EventStream final {
 public:
  explicit EventStream(StreamOptions options) : options_(std::move(options)) {}

  // What the client gets for these bytes of the replica; empty when nothing is complete yet.
  std::string feed(std::string_view bytes);

  // Whether anything of the answer itself has come: text, a tool call, a reason to end.
  bool began() const { return began_; }
  // Whether the stream came to its proper end.
  bool complete() const { return complete_; }
  // The raw body of an engine's error event, when one came. Nothing is produced after it.
  const std::optional<std::string>& engine_error() const { return engine_error_; }
  // As the engine says. Of a stream without its proper end it may say nothing; then what counts of
  // the answer is what was handed over, each piece of it for a token.
  Usage usage() const;
  void note_handed_over() { handed_over_ = pieces_; }  // all that feed() has returned

 private:
  void take_event(std::string_view event, std::string& out);
  void take_data(std::string_view name, std::string_view data, std::string& out);
  void name_roles(boost::json::object& chunk);
  void start_message(std::string_view name, std::string& out);
  void finish_openai(std::string& out);
  void append_usage(boost::json::object chunk, std::string& out);
  bool named_events() const;

  StreamOptions options_;
  std::string pending_;
  std::string
      last_head_;  // a chunk without choices, for a usage chunk that the engine did not send itself
  Usage usage_;
  std::optional<std::string> engine_error_;
  std::uint64_t pieces_ = 0, handed_over_ = 0;
  bool usage_sent_ = false;
  bool complete_ = false;
  bool began_ = false;
  bool message_started_ = false;
  std::set<std::int64_t> roles_named_;  // the choices whose role the client has seen
};

// A whole JSON answer: model renamed, usage and timings read, private fields dropped. Not JSON is
// passed on as it is.
std::string rewrite_answer(std::string_view body, const std::string& model, Usage& usage);

}  // namespace glowplug::gateway
