// /v1/jobs and /v1/dead-letters. The rows are read and written by other threads, so each route
// waits for them in a coroutine.
#include "gateway/job_routes.h"

#include <charconv>
#include <utility>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "gateway/job_answers.h"
#include "gateway/job_json.h"
#include "gateway/json_text.h"
#include "gateway/list_page.h"
#include "gateway/request_fields.h"
#include "queue/webhook_admin.h"

namespace glowplug::gateway {
namespace {

namespace error = domain::error;
namespace json = boost::json;
using storage::JobView;
using Done = std::function<void(Result<JobView>)>;

constexpr int kListedUsual = 20;
constexpr int kListedMax = 100;

Error no_such_job(std::string_view id) {
  return {std::string(error::kNotFound),
          "There is no job `" + std::string(id.substr(0, 80)) + "`; results are kept for a day.",
          "id"};
}

Result<int> read_limit(std::string_view text) {
  if (text.empty()) return kListedUsual;
  int limit = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (ec == std::errc() && end == text.data() + text.size() && limit >= 1 && limit <= kListedMax)
    return limit;
  return invalid("limit", "must be a number from 1 to " + std::to_string(kListedMax) + ".");
}

Result<storage::JobFilter> read_filter(const Exchange& exchange) {
  storage::JobFilter filter;
  const Result<int> limit = read_limit(exchange.query_value("limit"));
  if (!limit) return limit.error();
  filter.limit = *limit;
  filter.function = exchange.query_value("function");
  if (const std::string_view status = exchange.query_value("status"); !status.empty()) {
    filter.state = storage::parse_job_state(status);
    if (!filter.state)
      return invalid("status",
                     "must be queued, in_progress, completed, failed, cancelled or expired.");
  }
  if (const std::string_view after = exchange.query_value("after"); !after.empty()) {
    filter.after = storage::parse_job_id(after);
    if (!filter.after) return invalid("after", "must be the id of a job.");
  }
  return filter;
}

// One more than is asked for tells whether there are more.
Coroutine<> send_list(Exchange& exchange, bool dead_letters) {
  Result<storage::JobFilter> filter = read_filter(exchange);
  queue::JobService* jobs = jobs_of(exchange.server);
  Reply reply;
  if (!filter || jobs == nullptr) {
    reply = exchange.error_reply(filter ? no_jobs() : filter.error());
    co_await exchange.send(std::move(reply));
    co_return;
  }
  const auto limit = static_cast<std::size_t>(filter->limit++);
  filter->dead_lettered = dead_letters;
  using Listed = Result<std::vector<JobView>>;
  std::function<void(std::function<void(Listed)>)> ask =
      [jobs, &filter](std::function<void(Listed)> done) { jobs->list(*filter, std::move(done)); };
  Listed list = co_await answer_to<Listed>(exchange.server.io, std::move(ask));
  if (!list) {
    reply = job_refusal(exchange, list.error());
  } else {
    const bool more = list->size() > limit;
    if (more) list->pop_back();
    json::array data;
    for (const JobView& view : *list) {
      json::object one = job_object(view);
      one["result"] = nullptr;  // which a list does not read
      data.push_back(std::move(one));
    }
    reply = json_reply(200, page_text(std::move(data), more));
  }
  co_await exchange.send(std::move(reply));
}

// The job that the path names; else the refusal is sent.
Coroutine<std::optional<domain::JobId>> named_job(Exchange& exchange) {
  const std::optional<domain::JobId> job = storage::parse_job_id(exchange.name);
  if (job && jobs_of(exchange.server) != nullptr) co_return job;
  Reply reply = exchange.error_reply(job ? no_jobs() : no_such_job(exchange.name));
  co_await exchange.send(std::move(reply));
  co_return std::nullopt;
}

// A change of one job, answered with what it then is.
Coroutine<> change(Exchange& exchange, void (queue::JobService::*what)(domain::JobId, Done),
                   int status) {
  const std::optional<domain::JobId> job = co_await named_job(exchange);
  if (!job) co_return;
  queue::JobService* jobs = jobs_of(exchange.server);
  std::function<void(Done)> ask = [jobs, what, &job](Done done) {
    (jobs->*what)(*job, std::move(done));
  };
  const Result<JobView> view =
      co_await answer_to<Result<JobView>>(exchange.server.io, std::move(ask));
  Reply reply = view ? json_reply(status, json::serialize(job_object(*view)))
                     : job_refusal(exchange, view.error());
  co_await exchange.send(std::move(reply));
}

Result<std::vector<domain::JobId>> read_ids(std::string_view body) {
  std::vector<domain::JobId> ids;
  if (body.empty()) return ids;
  const Result<json::object> object = parse_object(body);
  if (!object) return object.error();
  for (const auto& [key, value] : *object)
    if (auto known = check_known(key, {"ids"}); !known) return known.error();
  const json::value* list = field(*object, "ids");
  if (list == nullptr) return ids;
  const Error fault = invalid("ids", "must be a list of 1 to 100 ids of jobs.");
  if (!list->is_array() || list->as_array().empty() || list->as_array().size() > 100) return fault;
  for (const json::value& one : list->as_array()) {
    const auto id = one.is_string() ? storage::parse_job_id(std::string_view(one.as_string()))
                                    : std::optional<domain::JobId>();
    if (!id) return fault;
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace

Coroutine<> run_submit(Exchange& exchange) {
  const JobRules rules{
      .timeout_of = [&exchange](const std::string& function) -> std::optional<Duration> {
        const auto callee = exchange.server.platform.callee(function);
        if (!callee) return std::nullopt;
        return callee->manifest.limits.timeout;
      },
      .check_webhook = [&exchange](const std::string& url) -> Result<void> {
        if (const auto* webhooks = exchange.server.options.webhooks)
          return webhooks->check_url(url);
        return Error{std::string(error::kUnsupportedValue), "This server sends no webhooks.", ""};
      }};
  Result<queue::Submission> submission = read_job(exchange.request.body(), rules);
  Result<CallHeaders> headers = read_call_headers(exchange);
  if (!submission || !headers) {
    Reply fault = exchange.error_reply(submission ? headers.error() : submission.error());
    co_await exchange.send(std::move(fault));
    co_return;
  }
  submission->options.key = headers->key;
  if (headers->cancel_after) submission->options.terms.ttl = *headers->cancel_after;
  std::optional<Reply> reply =
      co_await answer_job(exchange, std::move(*submission), headers->preference);
  if (reply) co_await exchange.send(std::move(*reply));
}

Coroutine<> run_jobs(Exchange& exchange) { return send_list(exchange, false); }
Coroutine<> run_dead_letters(Exchange& exchange) { return send_list(exchange, true); }

Coroutine<> run_job(Exchange& exchange) {
  const std::optional<domain::JobId> job = co_await named_job(exchange);
  if (!job) co_return;
  const std::string_view asked = exchange.query_value("wait");
  const Result<Duration> most = asked.empty() ? Result<Duration>(Duration(0)) : read_wait(asked);
  Reply reply;
  if (!most) {
    reply = exchange.error_reply(most.error());
  } else {
    const auto view = co_await wait_for_end(exchange, *job, *most);
    if (!view) {
      exchange.keep_alive = false;
      co_return;
    }
    reply = *view ? json_reply(200, json::serialize(job_object(**view)))
                  : job_refusal(exchange, view->error());
  }
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_cancel(Exchange& exchange) {
  return change(exchange, &queue::JobService::cancel, 200);
}
Coroutine<> run_retry(Exchange& exchange) {
  return change(exchange, &queue::JobService::retry, 202);
}

Coroutine<> run_delete(Exchange& exchange) {
  const std::optional<domain::JobId> job = co_await named_job(exchange);
  if (!job) co_return;
  queue::JobService* jobs = jobs_of(exchange.server);
  std::function<void(std::function<void(Result<void>)>)> ask =
      [jobs, &job](std::function<void(Result<void>)> done) { jobs->remove(*job, std::move(done)); };
  const Result<void> removed = co_await answer_to<Result<void>>(exchange.server.io, std::move(ask));
  Reply reply = removed ? json_reply(204, "") : job_refusal(exchange, removed.error());
  co_await exchange.send(std::move(reply));
}

// Those that are named, or all.
Coroutine<> run_redrive(Exchange& exchange) {
  const Result<std::vector<domain::JobId>> ids = read_ids(exchange.request.body());
  queue::JobService* jobs = jobs_of(exchange.server);
  Reply reply;
  if (!ids || jobs == nullptr) {
    reply = exchange.error_reply(ids ? no_jobs() : ids.error());
    co_await exchange.send(std::move(reply));
    co_return;
  }
  std::size_t count = 0;
  std::optional<Error> fault;
  if (ids->empty()) {
    using Count = Result<std::size_t>;
    std::function<void(std::function<void(Count)>)> ask = [jobs](std::function<void(Count)> done) {
      jobs->redrive_all(std::move(done));
    };
    const Count all = co_await answer_to<Count>(exchange.server.io, std::move(ask));
    if (all)
      count = *all;
    else
      fault = all.error();
  }
  for (const domain::JobId id : *ids) {
    std::function<void(Done)> ask = [jobs, id](Done done) { jobs->retry(id, std::move(done)); };
    const Result<JobView> view =
        co_await answer_to<Result<JobView>>(exchange.server.io, std::move(ask));
    if (!view) {
      fault = view.error();
      break;
    }
    ++count;
  }
  reply = fault ? job_refusal(exchange, *fault)
                : json_reply(202, json::serialize(json::object{{"redriven", count}}));
  co_await exchange.send(std::move(reply));
}

}  // namespace glowplug::gateway
