// A client as the caller of a call: its leaving ends the call, and a streamed answer goes out on
// its connection, one write per piece.
//
// Thread: the server loop. Private to gateway/.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "gateway/caller.h"
#include "gateway/exchange.h"
#include "gateway/inference_call.h"

namespace glowplug::gateway {

class ClientCaller final : public Caller, public AnswerStream {
 public:
  explicit ClientCaller(Exchange& exchange) : exchange_(exchange) {}

  void watch(Ends ends) override { exchange_.client.watch(std::move(ends.gone)); }
  void unwatch() override { exchange_.client.unwatch(); }
  void granted(const control::Grant&) override {}
  void progressed() override {}
  AnswerStream* stream() override { return this; }

  Coroutine<bool> begin(const std::string& headers, std::string_view first) override;
  Coroutine<bool> write(std::string_view piece) override;
  Coroutine<> end() override;
  Coroutine<> break_off(const ErrorAnswer& failure) override;

 private:
  Exchange& exchange_;
  std::string message_;  // under way
};

// perform() for the client of this exchange. A client that left gets no further answer.
Coroutine<CallResult> perform_for_client(Exchange& exchange, const CallPlan& plan);

}  // namespace glowplug::gateway
