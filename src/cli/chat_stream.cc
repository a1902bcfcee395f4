#include "cli/chat_stream.h"

#include <fmt/format.h>

#include "base/units.h"
#include "cli/sse.h"
#include "domain/limits.h"

namespace glowplug::cli {
namespace {

// A call may be held for the longest queue time and then run as long as functions run by default.
constexpr Duration kAnswerSilenceMax = domain::kQueueTimeoutMax + 600s;

}  // namespace

std::optional<double> ChatAnswer::tokens_per_second() const {
  if (!completion_tokens || *completion_tokens < 2 || !first_token || !last_token)
    return std::nullopt;
  const double seconds = to_seconds(*last_token - *first_token);
  if (seconds <= 0) return std::nullopt;
  return (*completion_tokens - 1) / seconds;
}

ChatAnswer stream_chat(const Context& context, const boost::json::object& request,
                       const std::function<void(std::string_view text)>& on_text) {
  ChatAnswer answer;
  const Time began = context.clock.now();
  bool ended = false;
  SseReader events([&](const SseEvent& event) {
    if (ended || answer.error) return;
    if (event.data == "[DONE]") {
      ended = true;
      return;
    }
    Result<ChatChunk> chunk = read_chat_chunk(event.data);
    if (!chunk || chunk->error) {
      answer.error = chunk ? *chunk->error : chunk.error();
      return;
    }
    if (chunk->prompt_tokens) answer.prompt_tokens = chunk->prompt_tokens;
    if (chunk->completion_tokens) answer.completion_tokens = chunk->completion_tokens;
    if (!chunk->finish_reason.empty()) answer.finish_reason = chunk->finish_reason;
    if (chunk->text.empty()) return;
    answer.last_token = context.clock.now() - began;
    if (!answer.first_token) answer.first_token = answer.last_token;
    answer.text += chunk->text;
    on_text(chunk->text);
  });
  Result<HttpReply> reply = context.server.send({.method = "POST",
                                                 .target = "/v1/chat/completions",
                                                 .body = to_text(request),
                                                 .idle_timeout = kAnswerSilenceMax},
                                                [&events](std::string_view piece) {
                                                  events.feed(piece);
                                                  return Want::More;
                                                });
  if (!reply) {
    if (!answer.error) answer.error = reply.error();
    return answer;
  }
  answer.cold = reply->header("x-glowplug-cold-start") == "true";
  if (!reply->succeeded())
    answer.refusal = *std::move(reply);
  else if (!ended && !answer.error)
    answer.error = Error{std::string(kBadReply), "the answer broke off before its end", ""};
  return answer;
}

std::string stats_line(const ChatAnswer& answer) {
  std::string line = answer.cold ? "cold" : "warm";
  if (answer.first_token)
    line += fmt::format(" · first token {}", format_duration(*answer.first_token));
  if (const auto rate = answer.tokens_per_second(); rate)
    line += fmt::format(" · {:.1f} tokens/s", *rate);
  if (answer.completion_tokens) line += fmt::format(" · {} tokens", *answer.completion_tokens);
  if (answer.finish_reason == "length") line += " · cut at the token limit";
  return line;
}

boost::json::object to_json(const ChatAnswer& answer) {
  boost::json::object out{{"text", answer.text},          {"finish_reason", answer.finish_reason},
                          {"cold_start", answer.cold},    {"first_token_ms", nullptr},
                          {"tokens_per_second", nullptr}, {"prompt_tokens", nullptr},
                          {"completion_tokens", nullptr}};
  if (answer.first_token) out["first_token_ms"] = to_ms(*answer.first_token);
  if (const auto rate = answer.tokens_per_second(); rate) out["tokens_per_second"] = *rate;
  if (answer.prompt_tokens) out["prompt_tokens"] = *answer.prompt_tokens;
  if (answer.completion_tokens) out["completion_tokens"] = *answer.completion_tokens;
  return out;
}

}  // namespace glowplug::cli
