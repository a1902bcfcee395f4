#include "gateway/client_caller.h"

namespace glowplug::gateway {
namespace {

std::string in_band_error(const Exchange& exchange, const ErrorAnswer& answer) {
  if (exchange.anthropic) {
    return "event: error\ndata: " + anthropic_error_json(answer, exchange.request_id) + "\n\n";
  }
  return "data: " + error_json(answer) + "\n\n";
}

}  // namespace

Coroutine<bool> ClientCaller::begin(const std::string& headers, std::string_view first) {
  if (!exchange_.chunked || exchange_.server.draining) exchange_.keep_alive = false;
  Reply reply;
  reply.content_type = "text/event-stream; charset=utf-8";
  reply.headers = headers + "cache-control: no-cache\r\nx-accel-buffering: no\r\n";
  message_ = exchange_.head(reply, std::nullopt) + exchange_.frame(first);
  return exchange_.client.write(message_);
}

Coroutine<bool> ClientCaller::write(std::string_view piece) {
  message_ = exchange_.frame(piece);
  return exchange_.client.write(message_);
}

Coroutine<> ClientCaller::end() {
  if (!exchange_.chunked) co_return;
  // A variable of its own: with `if (!co_await …)` here GCC 12 makes a frame that it then misreads.
  const bool written = co_await exchange_.client.write("0\r\n\r\n");
  if (!written) exchange_.keep_alive = false;
}

Coroutine<> ClientCaller::break_off(const ErrorAnswer& failure) {
  exchange_.keep_alive = false;
  message_ = exchange_.frame(in_band_error(exchange_, failure));
  co_await exchange_.client.write(message_);
}

Coroutine<CallResult> perform_for_client(Exchange& exchange, const CallPlan& plan) {
  ClientCaller caller(exchange);
  CallResult result = co_await perform(exchange, caller, plan);
  if (result.caller_gone) exchange.keep_alive = false;
  co_return result;
}

}  // namespace glowplug::gateway
