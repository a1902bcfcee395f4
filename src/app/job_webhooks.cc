#include "app/job_webhooks.h"

#include <string>
#include <string_view>

#include <boost/json/parse.hpp>

#include "storage/job_text.h"

namespace glowplug::app {
namespace {

namespace json = boost::json;

// A response does not expire: one whose time is over has failed. One that reached a bound of tokens
// is a result, and incomplete.
std::string_view end_of_response(const storage::JobEnd& end) {
  if (end.state == domain::JobState::Expired) return "failed";
  if (end.state != domain::JobState::Completed) return domain::to_string(end.state);
  boost::system::error_code ec;
  const json::value response = json::parse(end.result, ec);
  const json::value* status =
      !ec && response.is_object() ? response.get_object().if_contains("status") : nullptr;
  return status != nullptr && *status == json::value("incomplete") ? "incomplete" : "completed";
}

}  // namespace

Result<void> emit_job_end(storage::Database& database, const storage::SettledJob& settled,
                          const queue::EmitWebhook& emit) {
  if (settled.batch != 0) return {};
  const std::string_view state = domain::to_string(settled.end.state);
  // "job_…" and "resp_…" name the same job.
  const std::string id = storage::to_text(settled.end.job);
  const Result<void> told = emit(database, {.type = "job." + std::string(state),
                                            .object_id = id,
                                            .url = settled.webhook,
                                            .traceparent = settled.traceparent});
  if (!told || settled.path != "/v1/responses") return told;
  return emit(database, {.type = "response." + std::string(end_of_response(settled.end)),
                         .object_id = "resp_" + id.substr(std::string_view("job_").size()),
                         .url = settled.webhook,
                         .traceparent = settled.traceparent});
}

}  // namespace glowplug::app
