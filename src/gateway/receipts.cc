#include "gateway/receipts.h"

#include <string_view>

#include <fmt/format.h>

#include "base/units.h"

namespace glowplug::gateway {
namespace {

std::string_view terminal_of(CallFate fate) {
  return fate == CallFate::Answered    ? domain::call_end::kCompleted
         : fate == CallFate::Cancelled ? domain::call_end::kCancelled
                                       : domain::call_end::kFailed;
}

policy::Payer payer_of(const AccountEnd& end) {
  if (end.fate == CallFate::Cancelled) return end.gone_payer;
  return end.fate == CallFate::Answered ? policy::Payer::Caller : policy::Payer::Platform;
}

std::string label(const std::string& function) { return "function=\"" + function + "\""; }

void write_costs(MetricsText& text, const metering::UsageLedger& ledger) {
  text.family("glowplug_cost_micros", "counter",
              "What callers owe for a function's calls, in millionths.");
  for (const auto& [function, totals] : ledger.totals())
    text.sample("glowplug_cost_micros_total", label(function), totals.cost_micros);
  text.family("glowplug_platform_cost_micros", "counter",
              "What attempts without a result and calls that broke have cost the platform.");
  for (const auto& [function, totals] : ledger.totals())
    text.sample("glowplug_platform_cost_micros_total", label(function), totals.platform_micros);
  text.family("glowplug_usage_rows", "counter", "Calls that have a receipt.");
  for (const auto& [function, totals] : ledger.totals())
    text.sample("glowplug_usage_rows_total", label(function), totals.rows);
}

void write_budgets(MetricsText& text, metering::UsageLedger& ledger, WallTime now) {
  text.family("glowplug_budget_spent_ratio", "gauge",
              "Share of scale.budget.per_day that is spent today (UTC); from 1 on calls are "
              "refused.");
  ledger.budgets().each(now, [&text](const std::string& function, const auto& row) {
    if (row.per_day.micros > 0)
      text.sample("glowplug_budget_spent_ratio", label(function),
                  static_cast<double>(row.spent.micros) / static_cast<double>(row.per_day.micros));
  });
}

}  // namespace

Result<void> check_budget(const GatewayOptions& options, const domain::Manifest& manifest) {
  if (options.usage == nullptr) return {};
  return options.usage->may_call(manifest);
}

void open_account(const GatewayOptions& options, const std::string& request,
                  const control::Grant& grant, metering::Book book) {
  if (options.usage == nullptr) return;
  options.usage->granted({.request = request,
                          .manifest = grant.manifest,
                          .revision = grant.revision,
                          .call = grant.call,
                          .cold = grant.cold,
                          .waited = grant.waited,
                          .book = book});
}

std::optional<domain::Receipt> close_account(const GatewayOptions& options, const AccountEnd& end) {
  if (options.usage == nullptr) return std::nullopt;
  return options.usage->close({.request = end.request,
                               .terminal = terminal_of(end.fate),
                               .status = end.status,
                               .phases = end.phases,
                               .prompt_tokens = end.usage.prompt_tokens,
                               .cached_tokens = end.usage.cached_tokens,
                               .completion_tokens = end.usage.completion_tokens,
                               .payer = payer_of(end)});
}

std::string cost_line(const std::optional<domain::Receipt>& receipt) {
  if (!receipt) return "";
  return fmt::format("x-glowplug-cost: {}\r\n", format_micros(receipt->cost.micros));
}

std::function<boost::json::object()> cost_teller(const GatewayOptions& options,
                                                 const std::string& request) {
  if (options.usage == nullptr) return nullptr;
  return [usage = options.usage, request]() -> boost::json::object {
    const std::int64_t micros = usage->cost_so_far(request).micros;
    return {{"micros", micros}, {"total", format_micros(micros)}};
  };
}

void write_usage(MetricsText& text, metering::UsageLedger& ledger, WallTime now) {
  write_costs(text, ledger);
  write_budgets(text, ledger, now);
  const metering::UsageLogCounts log = ledger.log_counts();
  text.gauge("glowplug_usage_log_bytes",
             "Usage log on the disk; it grows while the database cannot be written.", log.bytes);
  text.counter("glowplug_usage_records_dropped",
               "Usage records that could be kept neither on the disk nor in memory.", log.dropped);
  text.counter("glowplug_usage_records_damaged",
               "Lines of the usage log whose checksum did not fit.", log.damaged);
  text.family("glowplug_usage_writes_failed", "counter",
              "Tries to write usage that failed and were tried again, by what could not be "
              "written.");
  text.sample("glowplug_usage_writes_failed_total", "to=\"log\"", log.failed_writes);
  text.sample("glowplug_usage_writes_failed_total", "to=\"database\"", log.failed_folds);
}

}  // namespace glowplug::gateway
