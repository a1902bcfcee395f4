#include "gateway/job_runner.h"

#include <compare>
#include <deque>
#include <optional>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/call_notes.h"
#include "gateway/invoke_routes.h"
#include "gateway/job_outcome.h"
#include "gateway/replica_pulse.h"
#include "gateway/routes.h"
#include "storage/job_text.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace error = domain::error;
using control::AttemptOutcome;

// How the route that a job was accepted on reads its requests.
struct JobRoute {
  std::optional<Surface> surface;  // none: invoke
  std::string name;                // in its path
};

Result<JobRoute> route_of(const std::string& path) {
  RouteMatch match = find_route("POST", path, Side::Main);
  if (match.route != nullptr && match.route->run == run_invoke)
    return JobRoute{std::nullopt, std::move(match.name)};
  for (const Surface surface : {Surface::Chat, Surface::Completions, Surface::Embeddings,
                                Surface::Rerank, Surface::Responses, Surface::Messages})
    if (path == path_of(surface)) return JobRoute{surface, ""};
  return Error{std::string(error::kUnsupportedValue),
               "Calls of `" + path.substr(0, 200) +
                   "` cannot be jobs; those of invoke, chat/completions, completions, embeddings, "
                   "responses, messages and rerank can.",
               "path"};
}

// A job's request as its route reads it; what is known at a fault stands here too.
class JobCall final {
 public:
  Result<void> read(const Server& server, const queue::JobRequest& request, Purpose purpose) {
    Result<JobRoute> route = route_of(request.path);
    if (!route) return route.error();
    surface_ = route->surface;
    if (surface_) {
      if (Result<void> read =
              read_inference(server, *surface_, request.body,
                             {.streams = Streams::Never, .purpose = purpose}, invoke_.call);
          !read)
        return read;
    } else if (Result<void> read = read_invoke(server, route->name, request.body, purpose, invoke_);
               !read) {
      return read;
    }
    CallPlan& plan = invoke_.call.plan;
    plan.try_again = TryAgain::No;
    plan.urgency = request.urgency;
    if (!request.domain_salt.empty()) plan.shape.cache_salt = request.domain_salt;
    return {};
  }

  Reply refuse(CallContext& context, const ErrorAnswer& answer) const {
    return surface_ ? refuse_inference(context, invoke_.call, answer)
                    : refuse_invoke(context, invoke_, answer);
  }
  void finish(CallResult& result) const { finish_invoke(invoke_, result); }
  Reply reply(CallContext& context, CallResult& result) const {
    return surface_ ? inference_reply(context, invoke_.call, result)
                    : invoke_reply(context, invoke_, result);
  }

  const std::string& function() const { return invoke_.call.function; }
  CallPlan& plan() { return invoke_.call.plan; }

 private:
  std::optional<Surface> surface_;
  InvokeCall invoke_;  // of an inference route, its call alone
};

}  // namespace

// One attempt under way, and whom it tells.
class JobAttempt final : public Caller {
 public:
  JobAttempt(std::shared_ptr<Server> server_in, domain::JobId job_in, queue::JobRequest request_in,
             queue::JobRunner::Heard heard)
      : server(std::move(server_in)),
        job(job_in),
        request(std::move(request_in)),
        open(server->metrics.calls()),
        context{*server, request.path},
        heard_(std::move(heard)) {
    context.request_id = new_request_id();
    context.job = job;
    context.client_request = storage::to_text(job);
    context.started = server->clock.now();
    context.anthropic = request.path == path_of(Surface::Messages);
    context.open = &open;
  }

  void watch(Ends ends) override {
    if (stopped_) return ends.gone();
    ends_ = std::move(ends);
  }
  void unwatch() override {
    ends_ = {};
    pulse_.reset();
  }
  void granted(const control::Grant& grant) override {
    cold = grant.cold;
    revision = grant.revision;
    if (!stopped_ && heard_.granted) heard_.granted();
    if (stopped_ || grant.manifest.engine.kind == domain::EngineKind::Process) return;
    pulse_.emplace(
        *server, grant.endpoint,
        ReplicaPulse::Heard{.alive = [this] { progressed(); }, .lost = [this] { ends_.lost(); }});
  }
  void progressed() override {
    if (!stopped_ && heard_.progressed) heard_.progressed();
  }
  AnswerStream* stream() override { return nullptr; }

  void stop(policy::Payer payer) {
    if (std::exchange(stopped_, true)) return;  // heard_ may be running
    context.gone_payer = payer;
    pulse_.reset();
    if (const auto gone = std::exchange(ends_, {}).gone) gone();
  }
  // The runner goes, and whom it tells may be gone before the call's end is done.
  void leave() {
    left_ = true;
    stop(policy::Payer::Platform);
  }
  bool stopped() const { return stopped_; }
  // Nothing more is done for it: one of these, once.
  void end(queue::AttemptAnswer answer) {
    stopped_ = true;
    const queue::JobRunner::Heard heard = std::exchange(heard_, {});
    if (heard.ended && !left_) heard.ended(std::move(answer));
  }
  void end_stopped() {
    const queue::JobRunner::Heard heard = std::exchange(heard_, {});
    if (heard.stopped && !left_) heard.stopped(context.receipt);
  }

  const std::shared_ptr<Server> server;  // owners: the Gateway, its connections, and attempts
  const domain::JobId job;
  const queue::JobRequest request;
  OpenCall open;
  CallContext context;
  bool cold = false;
  int revision = 0;

 private:
  queue::JobRunner::Heard heard_;
  Ends ends_;
  std::optional<ReplicaPulse> pulse_;  // from the grant to the end
  bool stopped_ = false, left_ = false;
};

// The attempts under way, and which call of a job was the first whose replica broke.
struct CallJobRunner::Book {
  struct Key {
    domain::JobId job;
    std::uint64_t fence = 0;
    friend auto operator<=>(const Key&, const Key&) = default;
  };

  std::optional<domain::CallId> broken_call(domain::JobId job) const {
    const auto found = broken.find(job);
    return found == broken.end() ? std::nullopt : std::optional(found->second);
  }
  // Those of jobs that never come again are forgotten as others follow.
  void note_broken(domain::JobId job, domain::CallId call) {
    if (!broken.emplace(job, call).second) return;
    order.push_back(job);
    if (order.size() <= domain::kBrokenJobsKept) return;
    broken.erase(order.front());
    order.pop_front();
  }

  void forget(domain::JobId job) {
    if (broken.erase(job) > 0) std::erase(order, job);
  }

  std::map<Key, std::shared_ptr<JobAttempt>> attempts;  // owners: this and the coroutine of each
  std::map<domain::JobId, domain::CallId> broken;
  std::deque<domain::JobId> order;  // of `broken`, the oldest first
};

namespace {

Standing standing_of(const Server& server, const std::string& function) {
  if (!server.platform.admitting()) return Standing::Leaving;
  const auto view = server.platform.function(function);
  return view && view->quarantined ? Standing::Quarantined : Standing::Sound;
}

void take_reply(queue::AttemptAnswer& answer, Reply reply) {
  answer.status = reply.status;
  answer.body = std::move(reply.body);
}

void take_fault(queue::AttemptAnswer& answer, const CallFault& fault, const Server& server,
                const std::string& function, Granted granted) {
  answer.outcome = outcome_of(fault, granted, standing_of(server, function));
  answer.blamed = is_blamed(fault);
  answer.code = fault.code;
}

// The request could not become a call.
queue::AttemptAnswer refused(JobAttempt& attempt, const JobCall& call, const Error& error) {
  const ErrorAnswer said = to_answer(error);
  queue::AttemptAnswer answer;
  answer.request_id = attempt.context.request_id;
  const CallFault fault{.code = said.code, .status = said.status};
  take_fault(answer, fault, attempt.context.server, call.function(), Granted::No);
  answer.message = said.message;
  if (answer.outcome == AttemptOutcome::HandedBack) answer.retry_after = std::chrono::seconds(1);
  take_reply(answer, call.refuse(attempt.context, said));
  attempt.open.end("", CallFate::Refused, said.code);
  return answer;
}

queue::AttemptAnswer answered(JobAttempt& attempt, const JobCall& call, CallResult& result) {
  Server& server = attempt.context.server;
  queue::AttemptAnswer answer;
  answer.request_id = attempt.context.request_id;
  answer.cold = attempt.cold;
  answer.revision = attempt.revision;
  answer.phases = result.phases;
  answer.receipt = attempt.context.receipt;
  const Usage usage = metered(attempt.context, result.usage);
  answer.prompt_tokens = static_cast<std::int64_t>(usage.prompt_tokens);
  answer.cached_tokens = static_cast<std::int64_t>(usage.cached_tokens);
  answer.completion_tokens = static_cast<std::int64_t>(usage.completion_tokens);
  if (result.retry_after_s > 0) answer.retry_after = std::chrono::seconds(result.retry_after_s);
  if (result.failure) {
    const CallFault fault{.code = result.failure->code,
                          .status = result.failure->status,
                          .replica_broke = result.replica_broke};
    take_fault(answer, fault, server, call.function(),
               attempt.open.is_granted() ? Granted::Yes : Granted::No);
    answer.message = result.failure->message;
  }
  const bool failed = result.failure.has_value();
  take_reply(answer, call.reply(attempt.context, result));
  if (!failed && answer.status >= 500) {  // a process says so itself
    answer.outcome = AttemptOutcome::FunctionFailed;
    answer.code = error::kFunctionFailed;
    answer.message = fmt::format("{} answered with status {}.", call.function(), answer.status);
  }
  return answer;
}

// Something was thrown: a fault of ours.
queue::AttemptAnswer broken(JobAttempt& attempt, const std::string& what) {
  const CallContext& context = attempt.context;
  spdlog::error("request={} job={} {} internal error: {}", context.request_id, context.job->value,
                context.path, what);
  const ErrorAnswer said = to_answer(Error{std::string(error::kServerError), what, ""});
  queue::AttemptAnswer answer;
  answer.request_id = context.request_id;
  answer.outcome = AttemptOutcome::FunctionFailed;
  answer.code = said.code;
  answer.message = said.message;
  take_reply(answer, context.error_reply(said));
  attempt.open.end("", CallFate::Broken, said.code);
  return answer;
}

std::string what_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& known) { return known.what(); } catch (...) {
    return "something unknown was thrown";
  }
}

}  // namespace

CallJobRunner::CallJobRunner(std::shared_ptr<Server> server)
    : server_(std::move(server)), book_(std::make_shared<Book>()) {}

CallJobRunner::~CallJobRunner() {
  const auto attempts = std::exchange(book_->attempts, {});
  for (const auto& [key, attempt] : attempts) attempt->leave();
}

Result<void> CallJobRunner::check(const queue::JobRequest& request) {
  return JobCall().read(*server_, request, Purpose::Check);
}

Coroutine<queue::AttemptAnswer> CallJobRunner::run(std::shared_ptr<Book> book,
                                                   std::shared_ptr<JobAttempt> attempt) {
  CallContext& context = attempt->context;
  JobCall call;
  const Result<void> read = call.read(context.server, attempt->request, Purpose::Call);
  if (!read) co_return refused(*attempt, call, read.error());
  call.plan().retry_of = book->broken_call(attempt->job);
  CallResult result = co_await perform(context, *attempt, call.plan());
  call.finish(result);
  note_end(context, call.function(), result);
  if (result.caller_gone) co_return queue::AttemptAnswer();
  const domain::CallId made = result.call;
  const bool broke = result.replica_broke && attempt->open.is_granted();
  queue::AttemptAnswer answer = answered(*attempt, call, result);
  if (broke)
    book->note_broken(attempt->job, made);
  else if (answer.outcome != AttemptOutcome::NoCapacity)
    book->forget(attempt->job);
  co_return answer;
}

// In a later turn where it was stopped: stop() itself may have brought it to its end.
void CallJobRunner::conclude(const std::shared_ptr<Book>& book,
                             const std::shared_ptr<JobAttempt>& attempt, std::uint64_t fence,
                             queue::AttemptAnswer answer) {
  const Book::Key key{attempt->job, fence};
  if (!attempt->stopped()) {
    book->attempts.erase(key);
    return attempt->end(std::move(answer));
  }
  asio::post(attempt->server->io, [book, attempt, key] {
    book->attempts.erase(key);
    attempt->end_stopped();
  });
}

void CallJobRunner::start(domain::JobId job, std::uint64_t fence, queue::JobRequest request,
                          Heard heard) {
  const Book::Key key{job, fence};
  const auto attempt =
      std::make_shared<JobAttempt>(server_, job, std::move(request), std::move(heard));
  const bool is_new = book_->attempts.emplace(key, attempt).second;
  GLOWPLUG_ASSERT(is_new);
  asio::post(server_->io, [book = book_, attempt, fence] {
    if (attempt->stopped()) {
      attempt->open.end("", CallFate::Cancelled, call_reason::kWaiting);
      return conclude(book, attempt, fence, {});
    }
    asio::co_spawn(attempt->server->io, run(book, attempt),
                   [book, attempt, fence](std::exception_ptr thrown, queue::AttemptAnswer answer) {
                     if (thrown) answer = broken(*attempt, what_of(thrown));
                     conclude(book, attempt, fence, std::move(answer));
                   });
  });
}

void CallJobRunner::stop(domain::JobId job, std::uint64_t fence, policy::Payer payer) {
  const auto found = book_->attempts.find(Book::Key{job, fence});
  if (found == book_->attempts.end()) return;
  const std::shared_ptr<JobAttempt> attempt = found->second;  // while it ends
  attempt->stop(payer);
}

}  // namespace glowplug::gateway
