// One streamed chat completion: sends the messages, hands on the text as it comes, keeps the
// numbers. Thread: blocks the caller; one per answer.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

#include "cli/context.h"

namespace glowplug::cli {

struct ChatAnswer {
  std::string text;  // also what came before a break
  std::string finish_reason;
  bool cold = false;
  std::optional<Duration> first_token;  // from sending to the first text
  std::optional<Duration> last_token;
  std::optional<int> prompt_tokens;
  std::optional<int> completion_tokens;
  std::optional<HttpReply> refusal;  // a reply that is not 2xx
  std::optional<Error> error;        // no reply, or one that broke off

  bool succeeded() const { return !refusal && !error; }
  std::optional<double> tokens_per_second()
      const;  // of decoding: without the first token and the wait for it
};

ChatAnswer stream_chat(const Context& context, const boost::json::object& request,
                       const std::function<void(std::string_view text)>& on_text);

// "cold · first token 812.0 ms · 34.1 tokens/s · 120 tokens"
std::string stats_line(const ChatAnswer& answer);

boost::json::object to_json(const ChatAnswer& answer);

}  // namespace glowplug::cli
