// POST /v1/admin/cost/estimate: what a day of calls would cost by the server's price table. It asks
// no function and wakes none. Checks of fields are here; the sums are policy::estimate_cost's.
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"
#include "policy/cost.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

struct Asked {
  domain::DevicePrice row;
  policy::Workload workload;
};

Result<void> check_fields(const json::object& body) {
  for (const auto& member : body) {
    const std::string_view key(member.key().data(), member.key().size());
    if (auto known = check_known(key, {"gpu", "requests_per_day", "seconds", "count"}); !known)
      return known.error();
  }
  if (!field(body, "gpu")) return missing("gpu", "is missing; name a device, as \"A10G\".");
  if (!field(body, "requests_per_day"))
    return missing("requests_per_day", "is missing; say how many come in a day, as 20000.");
  if (!field(body, "seconds"))
    return missing("seconds", "is missing; say how long a request takes on average, as 1.2.");
  if (auto ok = check_kind(body, "gpu", JsonKind::String); !ok) return ok.error();
  const Range requests{0, static_cast<double>(domain::kRequestsPerDayMax)};
  if (auto ok = check_integer(body, "requests_per_day", requests); !ok) return ok.error();
  const Range seconds{0, to_seconds(domain::kMeanRequestMax)};
  if (auto ok = check_number(body, "seconds", seconds); !ok) return ok.error();
  return check_integer(body, "count", {1, domain::kDeviceCountMax});
}

Result<Asked> read_asked(const Exchange& exchange) {
  const Result<json::object> body = parse_object(exchange.request.body());
  if (!body) return body.error();
  if (const Result<void> checked = check_fields(*body); !checked) return checked.error();
  const Result<domain::DevicePrice> row = policy::price_of(
      exchange.server.options.prices, std::string_view(body->at("gpu").get_string()));
  if (!row) return row.error();
  const double seconds = body->at("seconds").to_number<double>();
  return Asked{.row = *row,
               .workload = {.requests_per_day = *integer(*body, "requests_per_day"),
                            .mean_time = Duration(std::llround(seconds * 1e9)),
                            .count = static_cast<int>(integer(*body, "count").value_or(1))}};
}

// Written by hand: a double, as a JSON library writes it, would not hold every amount. The name of
// a device needs no escapes (domain::is_device_name).
std::string to_text(const Asked& asked, const policy::CostEstimate& estimate) {
  const std::int64_t per_hour = asked.row.price.per_hour.micros;
  const std::int64_t per_request = asked.row.price.per_request.micros;
  const std::int64_t requests = estimate.daily_request_cost.micros;
  const std::int64_t compute = estimate.daily_compute_cost.micros;
  const std::int64_t total = estimate.total_daily_cost.micros;
  return fmt::format(
      R"({{"object":"cost_estimate","gpu":"{}","count":{},"requests_per_day":{},"seconds":{},)"
      R"("per_hour":{},"per_request":{},)"
      R"("daily_request_cost":{},"daily_compute_cost":{},"total_daily_cost":{},)"
      R"("micros":{{"per_hour":{},"per_request":{},)"
      R"("daily_request_cost":{},"daily_compute_cost":{},"total_daily_cost":{}}}}})",
      asked.row.device, asked.workload.count, asked.workload.requests_per_day,
      to_seconds(asked.workload.mean_time), format_micros(per_hour), format_micros(per_request),
      format_micros(requests), format_micros(compute), format_micros(total), per_hour, per_request,
      requests, compute, total);
}

}  // namespace

Reply estimate_cost(Exchange& exchange) {
  const Result<Asked> asked = read_asked(exchange);
  if (!asked) return exchange.error_reply(asked.error());
  const auto estimate = policy::estimate_cost(asked->row.price, asked->workload);
  if (!estimate) return exchange.error_reply(estimate.error());
  return json_reply(200, to_text(*asked, *estimate));
}

}  // namespace glowplug::gateway
