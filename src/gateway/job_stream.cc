// GET /v1/jobs/{id}/stream: the states of a job as server-sent events, until the one that it ends
// in, which carries the result. A client that comes back says the id of the last event that it has
// (Last-Event-ID): it gets what has followed, or what the job is now where several states have.
#include <charconv>
#include <optional>
#include <utility>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "gateway/job_answers.h"
#include "gateway/job_json.h"
#include "gateway/job_routes.h"
#include "gateway/job_watch.h"
#include "gateway/request_fields.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using storage::JobView;

Result<std::uint64_t> read_last(std::string_view text) {
  std::uint64_t last = 0;
  if (text.empty()) return last;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), last);
  if (ec == std::errc() && end == text.data() + text.size()) return last;
  return invalid("Last-Event-ID", "must be the id of an event of this stream.");
}

std::string event_text(const JobView& view) {
  return fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event_id(view),
                     domain::to_string(view.state), json::serialize(job_object(view)));
}

}  // namespace

Coroutine<> run_job_stream(Exchange& exchange) {
  Server& server = exchange.server;
  const std::optional<domain::JobId> job = storage::parse_job_id(exchange.name);
  const Result<std::uint64_t> last = read_last(exchange.header("last-event-id"));
  Result<JobView> view = Error{std::string(domain::error::kNotFound),
                               "There is no job `" + exchange.name.substr(0, 80) + "`.", "id"};
  if (!last) view = last.error();
  if (jobs_of(server) == nullptr) view = no_jobs();
  const bool looks = job && last && jobs_of(server) != nullptr;
  std::optional<JobWatch> watch;
  if (looks) {
    watch.emplace(exchange, *job);
    view = co_await look_at(server, *job);
  }
  if (!view) {
    watch.reset();
    Reply refusal = job_refusal(exchange, view.error());
    co_await exchange.send(std::move(refusal));
    co_return;
  }
  RenderJob render = [sent = *last](const JobView& now) mutable -> std::string {
    if (event_id(now) <= sent) return "";
    sent = event_id(now);
    return event_text(now);
  };
  co_await stream_job(exchange, *watch, std::move(*view), std::move(render));
}

}  // namespace glowplug::gateway
