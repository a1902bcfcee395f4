// The course of one call as JSON, with what was decided about its function meanwhile.
#include <cmath>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "gateway/routes.h"
#include "storage/job_text.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
namespace error = domain::error;

// The end of a process is heard a little after the answer that it broke.
constexpr Duration kLookAfterBreak = std::chrono::seconds(1);

double rounded_ms(Duration took) { return std::round(to_ms(took) * 1000) / 1000; }

json::value ms_or_null(const std::optional<Time>& at, const CallRecord& call) {
  return at ? json::value(rounded_ms(*at - call.arrived)) : json::value(nullptr);
}

template <typename Value>
json::value or_null(bool known, const Value& value) {
  return known ? json::value(value) : json::value(nullptr);
}

json::value start_of(const CallRecord& call) {
  if (call.tries == 0) return nullptr;
  json::object start{{"cold", call.cold}};
  if (!call.cold) return start;
  start["tier"] = domain::to_string(call.tier);
  start["bytes_read"] = or_null(call.bytes_read.has_value(), call.bytes_read.value_or(0));
  return start;
}

// A call that came to no tokens at all is one whose engine did not count them.
json::value usage_of(const Usage& usage) {
  if (usage.prompt_tokens + usage.completion_tokens == 0) return nullptr;
  return json::object{{"prompt_tokens", usage.prompt_tokens},
                      {"cached_tokens", usage.cached_tokens},
                      {"completion_tokens", usage.completion_tokens}};
}

// How long what was decided about the function concerned this call.
Time concerned_until(const CallRecord& call, Time now) {
  if (call.fate == CallFate::Broken) return *call.ended + kLookAfterBreak;
  return call.granted.value_or(call.ended.value_or(now));
}

json::array decisions_about(const CallRecord& call, const Server& server) {
  const Time until = concerned_until(call, server.clock.now());
  json::array found;
  for (const control::Decision& decision : server.platform.decisions()) {
    if (decision.function != call.function || decision.at < call.arrived || decision.at > until)
      continue;
    found.emplace_back(json::object{{"after_ms", rounded_ms(decision.at - call.arrived)},
                                    {"decision", decision.decision},
                                    {"reason", decision.reason}});
  }
  return found;
}

json::object call_object(const CallRecord& call, const Server& server) {
  const bool granted = call.tries > 0;
  json::object phases;
  call.phases.each(
      [&phases](std::string_view name, Duration took) { phases[name] = rounded_ms(took); });
  return {{"object", "call"},
          {"request", call.request},
          {"client_request", or_null(!call.client_request.empty(), call.client_request)},
          {"job", call.job ? json::value(storage::to_text(*call.job)) : json::value(nullptr)},
          {"function", call.function},
          {"path", call.path},
          {"stream", call.stream},
          {"at_ms", call.at.time_since_epoch().count()},
          {"outcome", to_string(call.fate)},
          {"status", or_null(call.status != 0, call.status)},
          {"error", or_null(!call.error.empty(), call.error)},
          {"tries", call.tries},
          {"revision", or_null(granted, call.revision)},
          {"replica", or_null(granted, call.replica.value)},
          {"start", start_of(call)},
          {"granted_ms", ms_or_null(call.granted, call)},
          {"first_byte_ms", ms_or_null(call.first_byte, call)},
          {"total_ms", ms_or_null(call.ended, call)},
          {"phases_ms", std::move(phases)},
          {"usage", usage_of(call.usage)},
          {"decisions", decisions_about(call, server)}};
}

Reply no_call(const Exchange& exchange, const std::string& id, const std::string& of) {
  const std::string shown = usable_request_id(id).substr(0, 80);
  return exchange.error_reply(
      Error{std::string(error::kNotFound),
            fmt::format("{}{} is kept; only the latest {} calls are, of this run of the server.",
                        shown.empty() ? "No such call" : "No call `" + shown + "`", of,
                        domain::kCallsKept),
            "request"});
}

}  // namespace

// Also of a function that was removed since.
Reply get_why(Exchange& exchange) {
  if (const CallRecord* call = exchange.server.calls.look_up(exchange.item, exchange.name))
    return json_reply(200, json::serialize(call_object(*call, exchange.server)));
  if (!exchange.server.platform.function(exchange.name)) return no_function(exchange);
  return no_call(exchange, exchange.item, " of `" + exchange.name + "`");
}

Reply get_call_why(Exchange& exchange) {
  const CallRecord* call = exchange.server.calls.look_up(exchange.name);
  if (call == nullptr) return no_call(exchange, exchange.name, "");
  return json_reply(200, json::serialize(call_object(*call, exchange.server)));
}

}  // namespace glowplug::gateway
