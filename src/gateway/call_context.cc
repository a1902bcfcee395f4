#include "gateway/call_context.h"

#include <algorithm>
#include <random>
#include <utility>

#include "fmt/format.h"

namespace glowplug::gateway {

Reply json_reply(int status, std::string body) {
  Reply reply;
  reply.status = status;
  reply.body = std::move(body);
  return reply;
}

Reply CallContext::error_reply(const ErrorAnswer& answer, int retry_after_s) const {
  Reply reply = anthropic
                    ? json_reply(anthropic_status(answer), anthropic_error_json(answer, request_id))
                    : json_reply(answer.status, error_json(answer));
  if (retry_after_s > 0) {
    const int seconds = std::clamp(retry_after_s, 1, 60);
    reply.headers +=
        fmt::format("retry-after: {}\r\nretry-after-ms: {}\r\n", seconds, seconds * 1000);
  }
  reply.error = answer.code;
  if (!answer.retry && answer.status >= 422) reply.headers += "x-should-retry: false\r\n";
  return reply;
}

Reply CallContext::error_reply(const Error& error, int retry_after_s) const {
  return error_reply(to_answer(error), retry_after_s);
}

std::string new_request_id() {
  static constexpr std::string_view kBase62 =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 random{std::random_device{}()};  // ids must be unique, not secret
  std::uniform_int_distribution<std::size_t> pick(0, kBase62.size() - 1);
  std::string id = "req_";
  for (int i = 0; i < 24; ++i) id += kBase62[pick(random)];
  return id;
}

}  // namespace glowplug::gateway
