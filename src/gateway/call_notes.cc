#include "gateway/call_notes.h"

#include <utility>

namespace glowplug::gateway {
namespace {

constexpr int kClientGone = 499;  // nginx's number for a client that left; it is only counted
constexpr std::size_t kCodeBytesMax = 64;  // an engine's own codes are its business

// A caller that narrows its cache domain is found by nobody who guesses the id that it gave.
void begin_record(Exchange& exchange, const std::string& function, const RequestShape& shape) {
  const Clock& clock = exchange.server.clock;
  const auto ago =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - exchange.started);
  CallRecord record;
  record.request = exchange.request_id;
  record.function = function;
  record.path = exchange.path;
  record.stream = shape.stream;
  if (shape.cache_salt.empty())
    record.client_request = usable_request_id(exchange.header("x-client-request-id"));
  record.at = clock.wall_now() - ago;
  record.arrived = exchange.started;
  exchange.server.calls.begin(std::move(record));
}

CallFate fate_of(const OpenCall& call, const CallResult& result) {
  if (result.client_gone) return CallFate::Cancelled;
  if (!result.broken_by.empty()) return CallFate::Broken;
  if (!result.failure) return CallFate::Answered;
  const bool broken = result.replica_broke || result.failure->status >= 500;
  return call.is_granted() && broken ? CallFate::Broken : CallFate::Refused;
}

std::string_view reason_of(const OpenCall& call, const CallResult& result) {
  if (result.client_gone)
    return call.is_granted() ? call_reason::kAnswering : call_reason::kWaiting;
  if (!result.broken_by.empty()) return result.broken_by;
  return result.failure ? std::string_view(result.failure->code) : call_reason::kComplete;
}

}  // namespace

void note_arrival(Exchange& exchange, const CallPlan& plan) {
  begin_record(exchange, plan.function, plan.shape);
}

void note_grant(Exchange& exchange, const control::Grant& grant) {
  exchange.server.metrics.observe_grant(grant.manifest.name, grant);
  exchange.client.call->granted();
  CallRecord* record = exchange.server.calls.find(exchange.request_id);
  if (record == nullptr) return;
  record->fate = CallFate::Running;
  ++record->tries;
  record->revision = grant.revision;
  record->replica = grant.replica;
  record->cold = grant.cold;
  record->tier = grant.tier;
  record->bytes_read = grant.bytes_read;
  record->granted = exchange.server.clock.now();
  record->phases = grant.waited;
}

void note_first_byte(Exchange& exchange, const std::string& function) {
  const Time now = exchange.server.clock.now();
  exchange.server.metrics.observe_first_token(function, now - exchange.started);
  if (CallRecord* record = exchange.server.calls.find(exchange.request_id))
    record->first_byte = now;
}

void note_end(Exchange& exchange, const std::string& function, const CallResult& result) {
  const int status = result.client_gone ? kClientGone
                     : result.failure   ? result.failure->status
                                        : result.status;
  const CallFate fate = fate_of(*exchange.client.call, result);
  exchange.client.call->end(function, fate, reason_of(*exchange.client.call, result));
  Metrics& metrics = exchange.server.metrics;
  metrics.count_request(function, status);
  metrics.count_tokens(function, result.usage);
  CallRecord* record = exchange.server.calls.find(exchange.request_id);
  if (record == nullptr) return;
  record->fate = fate;
  record->status = status;
  record->error =
      (result.failure ? result.failure->code : result.broken_by).substr(0, kCodeBytesMax);
  record->ended = exchange.server.clock.now();
  if (result.phases[domain::Phase::Prefill]) {
    record->phases = result.phases;
    if (record->cold)
      metrics.observe_restore(record->tier,
                              result.phases[domain::Phase::Restore].value_or(Duration(0)));
  }
  // Of an answer as a whole only its engine knows when it began.
  if (status == 200 && !result.streamed && result.usage.prefill && record->granted) {
    const Duration restored = result.phases[domain::Phase::Restore].value_or(Duration(0));
    exchange.server.platform.began(
        function, record->revision,
        *record->granted - record->arrived + restored + *result.usage.prefill);
  }
  record->usage = result.usage;
  if (exchange.anthropic) record->usage.prompt_tokens += result.usage.cached_tokens;  // apart there
}

void note_refusal(Exchange& exchange, const std::string& function, const ErrorAnswer& answer) {
  begin_record(exchange, function, {});
  CallResult result;
  result.failure = answer;
  note_end(exchange, function, result);
}

}  // namespace glowplug::gateway
