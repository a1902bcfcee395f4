// A call's account as the edge keeps it: opened when a replica takes the call, closed before its
// answer goes out or once a stream has ended, and shown: x-glowplug-cost, and `glowplug.cost` in
// the usage chunk of a stream that has one.
//
// Who pays: the caller for what was answered, and for what it cut off itself; the platform for
// everything else, also where a request turned out to be one that its engine refuses, and where the
// queue has stopped a job's attempt that nobody has cancelled.
//
// Without a ledger (GatewayOptions::usage) nothing is metered. Private to gateway/. Thread: the
// server loop.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include <boost/json/object.hpp>

#include "base/result.h"
#include "domain/receipt.h"
#include "gateway/call_log.h"
#include "gateway/gateway.h"
#include "gateway/metrics_text.h"
#include "metering/usage_ledger.h"

namespace glowplug::gateway {

// Errors: insufficient_quota.
Result<void> check_budget(const GatewayOptions& options, const domain::Manifest& manifest);

void open_account(const GatewayOptions& options, const std::string& request,
                  const control::Grant& grant, metering::Book book);

struct AccountEnd {
  const std::string& request;
  CallFate fate = CallFate::Answered;
  int status = 0;
  const domain::PhaseTimes& phases;
  const Usage& usage;                                // with the tokens of the whole prompt
  policy::Payer gone_payer = policy::Payer::Caller;  // where its caller has cut it off
};
// None where no replica has had the call.
std::optional<domain::Receipt> close_account(const GatewayOptions& options, const AccountEnd& end);

std::string cost_line(const std::optional<domain::Receipt>& receipt);  // of the answer's head

// For StreamOptions; empty where nothing is metered.
std::function<boost::json::object()> cost_teller(const GatewayOptions& options,
                                                 const std::string& request);

void write_usage(MetricsText& text, metering::UsageLedger& ledger, WallTime now);

}  // namespace glowplug::gateway
