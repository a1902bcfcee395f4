#include "gateway/call_notes.h"

#include <utility>

#include "gateway/receipts.h"

namespace glowplug::gateway {
namespace {

constexpr int kClientGone = 499;  // nginx's number for a client that left; it is only counted
constexpr std::size_t kCodeBytesMax = 64;  // an engine's own codes are its business

// A caller that narrows its cache domain is found by nobody who guesses the id that it gave.
void begin_record(CallContext& context, const std::string& function, const RequestShape& shape) {
  const Clock& clock = context.server.clock;
  const auto ago =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - context.started);
  CallRecord record;
  record.request = context.request_id;
  record.function = function;
  record.path = context.path;
  record.stream = shape.stream;
  if (shape.cache_salt.empty()) record.client_request = context.client_request;
  record.at = clock.wall_now() - ago;
  record.arrived = context.started;
  record.job = context.job;
  context.server.calls.begin(std::move(record));
}

CallFate fate_of(const OpenCall& call, const CallResult& result) {
  if (result.caller_gone) return CallFate::Cancelled;
  if (!result.broken_by.empty()) return CallFate::Broken;
  if (!result.failure) return CallFate::Answered;
  const bool broken = result.replica_broke || result.failure->status >= 500;
  return call.is_granted() && broken ? CallFate::Broken : CallFate::Refused;
}

std::string_view reason_of(const OpenCall& call, const CallResult& result) {
  if (result.caller_gone)
    return call.is_granted() ? call_reason::kAnswering : call_reason::kWaiting;
  if (!result.broken_by.empty()) return result.broken_by;
  return result.failure ? std::string_view(result.failure->code) : call_reason::kComplete;
}

}  // namespace

void note_arrival(CallContext& context, const CallPlan& plan) {
  begin_record(context, plan.function, plan.shape);
}

void note_grant(CallContext& context, const control::Grant& grant) {
  context.server.metrics.observe_grant(grant.manifest.name, grant);
  context.open->granted();
  open_account(context.server.options, context.request_id, grant,
               context.job ? metering::Book::Job : metering::Book::UsageLog);
  CallRecord* record = context.server.calls.find(context.request_id);
  if (record == nullptr) return;
  record->fate = CallFate::Running;
  ++record->tries;
  record->revision = grant.revision;
  record->replica = grant.replica;
  record->cold = grant.cold;
  record->tier = grant.tier;
  record->bytes_read = grant.bytes_read;
  record->granted = context.server.clock.now();
  record->phases = grant.waited;
}

void note_first_byte(CallContext& context, const std::string& function) {
  const Time now = context.server.clock.now();
  context.server.metrics.observe_first_token(function, now - context.started);
  if (CallRecord* record = context.server.calls.find(context.request_id)) record->first_byte = now;
}

void note_end(CallContext& context, const std::string& function, const CallResult& result) {
  const int status = result.caller_gone ? kClientGone
                     : result.failure   ? result.failure->status
                                        : result.status;
  const CallFate fate = fate_of(*context.open, result);
  context.open->end(function, fate, reason_of(*context.open, result));
  Metrics& metrics = context.server.metrics;
  metrics.count_request(function, status);
  metrics.count_tokens(function, result.usage);
  const Usage usage = metered(context, result.usage);
  context.receipt = close_account(context.server.options, {.request = context.request_id,
                                                           .fate = fate,
                                                           .status = status,
                                                           .phases = result.phases,
                                                           .usage = usage,
                                                           .gone_payer = context.gone_payer});
  CallRecord* record = context.server.calls.find(context.request_id);
  if (record == nullptr) return;
  record->fate = fate;
  record->status = status;
  record->error =
      (result.failure ? result.failure->code : result.broken_by).substr(0, kCodeBytesMax);
  record->ended = context.server.clock.now();
  if (result.phases[domain::Phase::Prefill]) {
    record->phases = result.phases;
    if (record->cold)
      metrics.observe_restore(record->tier,
                              result.phases[domain::Phase::Restore].value_or(Duration(0)));
  }
  // Of an answer as a whole only its engine knows when it began.
  if (status == 200 && !result.streamed && result.usage.prefill && record->granted) {
    const Duration restored = result.phases[domain::Phase::Restore].value_or(Duration(0));
    context.server.platform.began(
        function, record->revision,
        *record->granted - record->arrived + restored + *result.usage.prefill);
  }
  record->usage = usage;
}

Usage metered(const CallContext& context, const Usage& usage) {
  Usage whole = usage;
  if (context.anthropic) whole.prompt_tokens += usage.cached_tokens;
  return whole;
}

void note_refusal(CallContext& context, const std::string& function, const ErrorAnswer& answer) {
  begin_record(context, function, {});
  CallResult result;
  result.failure = answer;
  note_end(context, function, result);
}

}  // namespace glowplug::gateway
