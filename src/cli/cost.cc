#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/table.h"

namespace glowplug::cli {
namespace {

namespace json = boost::json;

std::string amount(const json::value& micros, std::string_view name) {
  const json::value* found = field(micros, name);
  return found != nullptr && found->is_int64() ? format_micros(found->get_int64()) : "-";
}

std::string estimate_table(const json::value& estimate, const CostOptions& asked) {
  const json::value* found = field(estimate, "micros");
  const json::value micros = found != nullptr ? *found : json::value();
  const std::string devices = asked.count > 1 ? fmt::format(" × {}", asked.count) : "";
  return layout_table(
      {{text_field(estimate, "gpu")}, {"A DAY", Align::Right}, {"FROM"}},
      {{"requests", amount(micros, "daily_request_cost"),
        fmt::format("{} × {}", asked.requests_per_day, amount(micros, "per_request"))},
       {"compute", amount(micros, "daily_compute_cost"),
        fmt::format("{} × {} s{} at {} an hour", asked.requests_per_day,
                    to_seconds(asked.mean_time), devices, amount(micros, "per_hour"))},
       {"total", amount(micros, "total_daily_cost"), ""}});
}

}  // namespace

int estimate_cost(const Context& context, const CostOptions& options) {
  const json::object body{{"gpu", options.gpu},
                          {"requests_per_day", options.requests_per_day},
                          {"seconds", to_seconds(options.mean_time)},
                          {"count", options.count}};
  const Result<HttpReply> reply = context.admin.send(
      {.method = "POST", .target = "/v1/admin/cost/estimate", .body = to_text(body)});
  if (!reply) return report_error(context, reply.error());
  if (!reply->succeeded()) return report_refusal(context, *reply);
  const Result<json::value> estimate = parse_json(reply->body);
  if (!estimate) return report_error(context, estimate.error());
  // As it came: read into a double and written again, an amount may change in its last digit.
  if (context.json)
    context.console.out << reply->body << std::endl;
  else
    context.console.out << estimate_table(*estimate, options) << std::flush;
  return 0;
}

}  // namespace glowplug::cli
