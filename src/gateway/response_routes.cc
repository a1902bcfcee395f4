// /v1/responses/{id}: responses in the background, which are jobs of that route.
#include "gateway/response_routes.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "gateway/call_counts.h"
#include "gateway/job_routes.h"
#include "gateway/job_watch.h"
#include "gateway/list_page.h"
#include "gateway/request_fields.h"
#include "gateway/response_json.h"

namespace glowplug::gateway {
namespace {

namespace error = domain::error;
namespace json = boost::json;
using storage::JobView;
using storage::StoredRequest;

constexpr PageBounds kItemsOnAPage{.limit = 20, .limit_max = 100};

struct Response {
  JobView view;
  json::object request;
  std::string text() const { return json::serialize(response_object(view, request)); }
};

Error no_such_response(std::string_view id) {
  return {std::string(error::kNotFound),
          "There is no response `" + std::string(id.substr(0, 80)) +
              "`; those with background: true are kept, for a day after their end.",
          "id"};
}

Coroutine<Result<StoredRequest>> request_of(Server& server, domain::JobId job) {
  queue::JobService& jobs = *server.options.jobs;
  std::function<void(std::function<void(Result<StoredRequest>)>)> ask =
      [&jobs, job](std::function<void(Result<StoredRequest>)> done) {
        jobs.request(job, std::move(done));
      };
  co_return co_await answer_to<Result<StoredRequest>>(server.io, std::move(ask));
}

// A job of another route, and a line of a batch, is no response.
Coroutine<Result<Response>> find_response(Server& server, domain::JobId job) {
  Response response;
  Result<JobView> view = co_await look_at(server, job);
  if (!view) {
    Error fault = view.error();
    if (fault.code == error::kNotFound) fault = no_such_response(response_id(job));
    co_return fault;
  }
  if (view->path != path_of(Surface::Responses) || view->batch != 0)
    co_return no_such_response(response_id(job));
  const Result<StoredRequest> request = co_await request_of(server, job);
  if (!request) co_return request.error();
  boost::system::error_code ec;
  json::value body = json::parse(request->body, ec);
  if (!ec && body.is_object()) response.request = std::move(body.as_object());
  response.view = std::move(*view);
  co_return response;
}

// That the path names; else the refusal is sent.
Coroutine<std::optional<Response>> named_response(Exchange& exchange) {
  const std::optional<domain::JobId> job = parse_response_id(exchange.name);
  std::optional<Error> fault;
  if (jobs_of(exchange.server) == nullptr) fault = no_jobs();
  if (!job) fault = no_such_response(exchange.name);
  if (!fault) {
    Result<Response> found = co_await find_response(exchange.server, *job);
    if (found) co_return std::move(*found);
    fault = found.error();
  }
  Reply refusal = job_refusal(exchange, *fault);
  co_await exchange.send(std::move(refusal));
  co_return std::nullopt;
}

Result<std::int64_t> read_starting_after(std::string_view text) {
  std::int64_t after = -1;
  if (text.empty()) return after;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), after);
  if (ec == std::errc() && end == text.data() + text.size() && after >= 0) return after;
  return invalid("starting_after", "must be the sequence_number of an event of this stream.");
}

Result<bool> read_flag(std::string_view name, std::string_view text) {
  if (text.empty() || text == "false") return false;
  if (text == "true") return true;
  return invalid(name, "must be true or false.");
}

Coroutine<> stream_response(Exchange& exchange, Response response, std::int64_t after) {
  JobWatch watch(exchange, response.view.id);
  // What has changed before the watch began is seen by its first look.
  Result<JobView> view = co_await look_at(exchange.server, response.view.id);
  if (!view) {
    Reply refusal = job_refusal(exchange, view.error());
    co_await exchange.send(std::move(refusal));
    co_return;
  }
  RenderJob render = [sent = after, request = std::move(response.request)](
                         const JobView& now) mutable -> std::string {
    std::string text;
    for (const ResponseEvent& event : response_events(now, request)) {
      if (event.sequence <= sent) continue;
      text += event.text;
      sent = event.sequence;
    }
    return text;
  };
  co_await stream_job(exchange, watch, std::move(*view), std::move(render));
}

// What waits for another thread's word of one job, and gives it on.
Coroutine<Result<JobView>> cancelled(Server& server, domain::JobId job) {
  queue::JobService& jobs = *server.options.jobs;
  std::function<void(std::function<void(Result<JobView>)>)> ask =
      [&jobs, job](std::function<void(Result<JobView>)> done) {
        jobs.cancel(job, std::move(done));
      };
  co_return co_await answer_to<Result<JobView>>(server.io, std::move(ask));
}

Coroutine<Result<void>> removed(Server& server, domain::JobId job) {
  queue::JobService& jobs = *server.options.jobs;
  std::function<void(std::function<void(Result<void>)>)> ask =
      [&jobs, job](std::function<void(Result<void>)> done) { jobs.remove(job, std::move(done)); };
  co_return co_await answer_to<Result<void>>(server.io, std::move(ask));
}

}  // namespace

Coroutine<> answer_in_background(Exchange& exchange, const std::string& function,
                                 const CallHeaders& headers, ResponseForm form) {
  Server& server = exchange.server;
  queue::Submission submission = submission_of(exchange, function, headers);
  const Result<queue::Accepted> accepted = co_await accept_job(exchange, std::move(submission));
  std::optional<Error> fault;
  if (!accepted) fault = accepted.error();
  const bool replayed = accepted && accepted->kept;
  if (!fault && headers.preference.wait) {
    const auto waited = co_await wait_for_end(exchange, accepted->job, *headers.preference.wait);
    if (!waited) {
      exchange.keep_alive = false;
      exchange.open->end(function, CallFate::Cancelled, call_reason::kWaiting);
      co_return;
    }
  }
  std::optional<Response> response;
  if (!fault) {
    Result<Response> found = co_await find_response(server, accepted->job);
    if (found)
      response = std::move(*found);
    else
      fault = found.error();
  }
  if (fault) {
    Reply refusal = job_refusal(exchange, *fault);
    co_await exchange.send(std::move(refusal));
    co_return;
  }
  if (form == ResponseForm::Events) {
    exchange.open->end(function, CallFate::Answered, call_reason::kComplete);
    co_await stream_response(exchange, std::move(*response), -1);
    co_return;
  }
  // As it was accepted, whatever has become of it meanwhile.
  const bool as_accepted = !replayed && !headers.preference.wait;
  Reply reply =
      json_reply(200, as_accepted ? json::serialize(response_then(response->view, response->request,
                                                                  domain::JobState::Queued))
                                  : response->text());
  if (replayed) reply.headers += kReplayed;
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_response(Exchange& exchange) {
  const Result<bool> streams = read_flag("stream", exchange.query_value("stream"));
  const Result<std::int64_t> after = read_starting_after(exchange.query_value("starting_after"));
  if (!streams || !after) {
    Reply fault = exchange.error_reply(streams ? after.error() : streams.error());
    co_await exchange.send(std::move(fault));
    co_return;
  }
  std::optional<Response> response = co_await named_response(exchange);
  if (!response) co_return;
  if (*streams) {
    co_await stream_response(exchange, std::move(*response), *after);
    co_return;
  }
  Reply reply = json_reply(200, response->text());
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_cancel_response(Exchange& exchange) {
  std::optional<Response> response = co_await named_response(exchange);
  if (!response) co_return;
  Result<JobView> view = co_await cancelled(exchange.server, response->view.id);
  Reply reply;
  if (view) {
    response->view = std::move(*view);
    reply = json_reply(200, response->text());
  } else {
    reply = job_refusal(exchange, view.error());
  }
  co_await exchange.send(std::move(reply));
}

// What is not over yet is cancelled first.
Coroutine<> run_delete_response(Exchange& exchange) {
  std::optional<Response> response = co_await named_response(exchange);
  if (!response) co_return;
  const domain::JobId job = response->view.id;
  std::optional<Error> fault;
  if (!is_terminal(response->view.state)) {
    const Result<JobView> view = co_await cancelled(exchange.server, job);
    if (!view) fault = view.error();
  }
  if (!fault) {
    const Result<void> gone = co_await removed(exchange.server, job);
    if (!gone) fault = gone.error();
  }
  Reply reply = fault ? job_refusal(exchange, *fault)
                      : json_reply(200, json::serialize(json::object{{"id", response_id(job)},
                                                                     {"object", "response"},
                                                                     {"deleted", true}}));
  co_await exchange.send(std::move(reply));
}

Coroutine<> run_input_items(Exchange& exchange) {
  const Result<PageWish> wish = read_page(exchange, kItemsOnAPage);
  if (!wish) {
    Reply fault = exchange.error_reply(wish.error());
    co_await exchange.send(std::move(fault));
    co_return;
  }
  std::optional<Response> response = co_await named_response(exchange);
  if (!response) co_return;
  json::array items = input_items(response->view.id, response->request);
  if (!wish->ascending) std::reverse(items.begin(), items.end());
  auto from = items.begin();
  if (!wish->after.empty()) {
    const json::value after(wish->after);
    from = std::find_if(items.begin(), items.end(),
                        [&](const json::value& one) { return one.as_object().at("id") == after; });
    if (from == items.end()) {
      Reply fault = exchange.error_reply(unknown_after(*wish));
      co_await exchange.send(std::move(fault));
      co_return;
    }
    ++from;
  }
  const auto left = static_cast<std::size_t>(items.end() - from);
  const std::size_t count = std::min(left, wish->limit);
  Reply reply = json_reply(
      200, page_text(json::array(from, from + static_cast<std::ptrdiff_t>(count)), left > count));
  co_await exchange.send(std::move(reply));
}

}  // namespace glowplug::gateway
