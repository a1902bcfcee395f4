#include "gateway/job_answers.h"

#include <boost/json/serialize.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "gateway/call_counts.h"
#include "gateway/job_json.h"
#include "gateway/job_watch.h"

namespace glowplug::gateway {
namespace {

namespace error = domain::error;
namespace json = boost::json;
using storage::JobView;
using storage::KeptAnswer;

constexpr std::size_t kKeptAnswerBytesMax = 1 << 20;

std::string location(domain::JobId job) {
  return fmt::format("location: /v1/jobs/{}\r\n", storage::to_text(job));
}

Reply accepted_reply(domain::JobId job, const std::string& function) {
  Reply reply = json_reply(202, json::serialize(json::object{{"id", storage::to_text(job)},
                                                             {"object", "job"},
                                                             {"status", "queued"},
                                                             {"function", function}}));
  reply.headers = location(job);
  return reply;
}

Reply pending_reply(const JobView& view) {
  Reply reply = json_reply(202, json::serialize(job_object(view)));
  reply.headers = location(view.id);
  return reply;
}

// What a synchronous caller would have got.
Reply end_reply(const Exchange& exchange, const JobView& view) {
  Reply reply;
  if (view.status != 0) {
    reply = json_reply(view.status, view.result);
    if (view.status >= 400) reply.error = view.code;
  } else {
    reply = exchange.error_reply(end_error(view));
  }
  reply.headers += location(view.id);
  if (view.work.revision != 0)
    reply.headers += fmt::format(
        "x-glowplug-function: {}\r\nx-glowplug-revision: {}\r\nx-glowplug-cold-start: {}\r\n",
        view.function, view.work.revision, view.work.cold);
  return reply;
}

// Of a key that was known: the job as it is now, or the answer that was kept.
Coroutine<Reply> replay(Exchange& exchange, const KeptAnswer& kept) {
  Reply reply;
  if (kept.job == domain::JobId{}) {
    reply = json_reply(kept.status, kept.body);
    reply.content_type = kept.content_type;
  } else {
    const Result<JobView> view = co_await look_at(exchange.server, kept.job);
    if (!view) co_return job_refusal(exchange, view.error());
    reply = pending_reply(*view);
  }
  reply.headers += kReplayed;
  co_return reply;
}

}  // namespace

queue::JobService* jobs_of(const Server& server) { return server.options.jobs; }

void tell_jobs(const Exchange& exchange, const std::string& function) {
  if (queue::JobService* jobs = exchange.server.options.jobs) jobs->function_changed(function);
}

Error no_jobs() {
  return {std::string(error::kUnsupportedValue), "This server keeps no jobs.", ""};
}

Reply job_refusal(const Exchange& exchange, const Error& error) {
  Reply reply = exchange.error_reply(error, queue::retry_after_s(error));
  if (error.code == error::kIdempotencyInProgress) reply.headers += "x-should-retry: true\r\n";
  return reply;
}

Coroutine<Result<JobView>> look_at(Server& server, domain::JobId job) {
  queue::JobService& jobs = *server.options.jobs;
  std::function<void(std::function<void(Result<JobView>)>)> ask =
      [&jobs, job](std::function<void(Result<JobView>)> done) { jobs.view(job, std::move(done)); };
  co_return co_await answer_to<Result<JobView>>(server.io, std::move(ask));
}

Coroutine<std::optional<Result<JobView>>> wait_for_end(Exchange& exchange, domain::JobId job,
                                                       Duration most) {
  Server& server = exchange.server;
  const Time until = std::chrono::steady_clock::now() + most;
  JobWatch watch(exchange, job);
  while (true) {
    Result<JobView> view = co_await look_at(server, job);
    if (watch.client_gone()) co_return std::nullopt;
    const bool over = !view || is_terminal(view->state);
    if (over || server.draining || std::chrono::steady_clock::now() >= until) co_return view;
    co_await watch.wait(until);
  }
}

Coroutine<Result<queue::Accepted>> accept_job(Exchange& exchange, queue::Submission submission) {
  Server& server = exchange.server;
  queue::JobService* jobs = server.options.jobs;
  if (jobs == nullptr) co_return no_jobs();
  submission.options.request_id = exchange.request_id;
  submission.options.traceparent = usable_traceparent(exchange.header("traceparent"));
  std::function<void(std::function<void(Result<queue::Accepted>)>)> ask =
      [jobs, &submission](std::function<void(Result<queue::Accepted>)> done) {
        jobs->submit(std::move(submission), std::move(done));
      };
  co_return co_await answer_to<Result<queue::Accepted>>(server.io, std::move(ask));
}

Coroutine<std::optional<Reply>> answer_job(Exchange& exchange, queue::Submission submission,
                                           Preference preference) {
  const std::string function = submission.request.function;
  const Result<queue::Accepted> accepted = co_await accept_job(exchange, std::move(submission));
  if (!accepted) co_return job_refusal(exchange, accepted.error());
  const bool replayed = accepted->kept.has_value();
  if (replayed && accepted->job == domain::JobId{})
    co_return co_await replay(exchange, *accepted->kept);
  Reply reply;
  if (preference.wait) {
    const auto view = co_await wait_for_end(exchange, accepted->job, *preference.wait);
    if (!view) {
      exchange.keep_alive = false;
      if (exchange.open) exchange.open->end(function, CallFate::Cancelled, call_reason::kWaiting);
      co_return std::nullopt;
    }
    if (!*view)
      reply = job_refusal(exchange, view->error());
    else
      reply = is_terminal((*view)->state) ? end_reply(exchange, **view) : pending_reply(**view);
    if (replayed) reply.headers += kReplayed;
  } else if (replayed) {
    reply = co_await replay(exchange, *accepted->kept);
  } else {
    reply = accepted_reply(accepted->job, function);
  }
  reply.headers += preference.wait    ? "preference-applied: wait\r\n"
                   : preference.async ? "preference-applied: respond-async\r\n"
                                      : "";
  co_return reply;
}

Result<CallHeaders> read_call_headers(const Exchange& exchange) {
  CallHeaders headers;
  const Result<Preference> preference =
      read_preference(exchange.header("prefer"), exchange.header("x-invocation-type"));
  if (!preference) return preference.error();
  headers.preference = *preference;
  auto key = read_key(exchange.header("idempotency-key"), exchange.path, exchange.request.body());
  if (!key) return key.error();
  headers.key = std::move(*key);
  const auto cancel_after = read_cancel_after(exchange.header("cancel-after"));
  if (!cancel_after) return cancel_after.error();
  headers.cancel_after = *cancel_after;
  return headers;
}

Purpose purpose_of(const Result<CallHeaders>& headers) {
  return headers && headers->preference.wants_job() ? Purpose::Check : Purpose::Call;
}

queue::Submission submission_of(const Exchange& exchange, const std::string& function,
                                const CallHeaders& headers) {
  queue::Submission submission;
  submission.checked = true;
  submission.request = {
      .function = function, .path = exchange.path, .body = exchange.request.body()};
  submission.options.key = headers.key;
  if (headers.cancel_after) submission.options.terms.ttl = *headers.cancel_after;
  if (const auto callee = exchange.server.platform.callee(function))
    submission.options.terms.limits.run_timeout = callee->manifest.limits.timeout;
  return submission;
}

KeyedCall::~KeyedCall() {
  if (!key_ || server_.closed) return;
  server_.options.jobs->end_keyed(*key_, std::nullopt, [] {});
}

Coroutine<std::optional<Reply>> KeyedCall::begin(Exchange& exchange,
                                                 std::optional<storage::IdempotencyKey> key) {
  using Begun = Result<std::optional<KeptAnswer>>;
  queue::JobService* jobs = server_.options.jobs;
  if (!key || jobs == nullptr) co_return std::nullopt;
  std::function<void(std::function<void(Begun)>)> ask =
      [jobs, &key](std::function<void(Begun)> done) { jobs->begin_keyed(*key, std::move(done)); };
  const Begun begun = co_await answer_to<Begun>(server_.io, std::move(ask));
  if (!begun) co_return job_refusal(exchange, begun.error());
  if (*begun) co_return co_await replay(exchange, **begun);
  key_ = std::move(key);
  co_return std::nullopt;
}

// What the caller may send again with hope (a refusal, a failure of ours) is not kept.
Coroutine<> KeyedCall::keep(const Reply& reply) {
  if (!key_) co_return;
  const bool passing = reply.status >= 500 || reply.status == 429 || reply.status == 408;
  if (passing || reply.body.size() > kKeptAnswerBytesMax) co_return;
  queue::JobService* jobs = server_.options.jobs;
  const storage::IdempotencyKey key = *std::exchange(key_, std::nullopt);
  KeptAnswer answer{.status = reply.status, .body = reply.body, .content_type = reply.content_type};
  std::function<void(std::function<void(bool)>)> ask = [jobs, &key,
                                                        &answer](std::function<void(bool)> done) {
    jobs->end_keyed(key, std::move(answer), [done] { done(true); });
  };
  co_await answer_to<bool>(server_.io, std::move(ask));
}

}  // namespace glowplug::gateway
