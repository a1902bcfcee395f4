#include "gateway/job_json.h"

#include <algorithm>

#include <boost/json/parse.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "gateway/json_text.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;
using domain::JobState;

std::int64_t ms_of(Duration duration) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
}

json::value waited_ms(const storage::JobView& view) {
  if (view.started == WallTime{}) return nullptr;
  return ms_of(view.waited);
}

json::value result_of(const storage::JobView& view) {
  if (view.status == 0) return nullptr;
  boost::system::error_code ec;
  json::value body = json::parse(view.result, ec);
  if (ec) body = json::string(view.result);
  return json::object{{"status", view.status}, {"body", std::move(body)}};
}

json::value error_of(const storage::JobView& view) {
  if (view.state != JobState::Failed && view.state != JobState::Expired) return nullptr;
  const Error error = end_error(view);
  return json::object{{"code", error.code},
                      {"message", error.message},
                      {"type", domain::error_kind(error.code).type}};
}

}  // namespace

Error end_error(const storage::JobView& view) {
  if (view.state == JobState::Cancelled)
    return {std::string(domain::error::kJobConflict), "The job was cancelled.", ""};
  if (!view.code.empty()) return {view.code, view.reason, ""};
  if (view.state == JobState::Expired)
    return {std::string(domain::error::kDeadlineExceeded),
            "The job's time to live was over before it was.", ""};
  return {std::string(domain::error::kServerError), view.reason, ""};
}

json::object job_object(const storage::JobView& view) {
  const bool over = is_terminal(view.state);
  json::object object;
  object["id"] = storage::to_text(view.id);
  object["object"] = "job";
  object["status"] = domain::to_string(view.state);
  object["function"] = view.function;
  object["path"] = view.path;
  object["priority"] = view.urgency == domain::JobUrgency::Batch ? "batch" : "interactive";
  object["created_at"] = unix_seconds_or_null(view.created);
  object["started_at"] = unix_seconds_or_null(view.started);
  object["finished_at"] = unix_seconds_or_null(view.finished);
  object["attempt"] = view.attempts;
  object["max_attempts"] = view.terms.limits.attempts_max;
  object["queue_ms"] = waited_ms(view);
  object["load_ms"] = over && view.started != WallTime{} ? json::value(ms_of(view.work.load))
                                                         : json::value(nullptr);
  object["exec_ms"] = over && view.started != WallTime{} ? json::value(ms_of(view.work.exec))
                                                         : json::value(nullptr);
  object["cold_start"] =
      over && view.work.revision != 0 ? json::value(view.work.cold) : json::value(nullptr);
  object["revision"] =
      view.work.revision != 0 ? json::value(view.work.revision) : json::value(nullptr);
  object["dead_lettered"] = view.dead_lettered;
  object["request_id"] = view.request_id;
  if (view.batch != 0) object["batch_line"] = view.batch_line;
  if (!over && !view.reason.empty()) object["waits_for"] = view.reason;
  object["error"] = error_of(view);
  object["result"] = over ? result_of(view) : json::value(nullptr);
  return object;
}

std::uint64_t event_id(const storage::JobView& view) {
  const std::uint64_t attempt = 3 * view.fence;
  if (view.state == JobState::InProgress) return attempt;
  return view.state == JobState::Queued ? attempt + 1 : attempt + 2;
}

}  // namespace glowplug::gateway
