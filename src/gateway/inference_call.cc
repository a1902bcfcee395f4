#include "gateway/inference_call.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"
#include "fmt/format.h"
#include "gateway/call_notes.h"
#include "gateway/receipts.h"
#include "gateway/replica_pulse.h"
#include "gateway/tool_request.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace error = domain::error;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// For the end of a replica whose connection has ended: asked for after the first pause, and after
// twice as long each time, a second in all.
constexpr Duration kEndSeenFirst = std::chrono::milliseconds(1);
constexpr Duration kEndSeenLast = std::chrono::milliseconds(512);

enum class Stopped { No, CallerGone, Deadline };

// What a call waits on, so that its caller's leaving or a timeout can end the wait from outside.
struct CallState {
  explicit CallState(asio::io_context& io) : wake(io), deadline(io) {}

  void stop(Stopped why) {
    if (stopped != Stopped::No) return;
    stopped = why;
    wake.cancel();
    if (replica) replica->close();
  }

  asio::steady_timer wake;
  asio::steady_timer deadline;
  Stopped stopped = Stopped::No;
  std::optional<Result<control::Grant>> outcome;
  int retry_after_s = 0;
  ReplicaConnection* replica = nullptr;
};

// Gives a call back once: abandoned while it waits, finished after its grant.
class CallGuard final {
 public:
  CallGuard(Server& server, domain::CallId call) : server_(server), call_(call) {}
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;
  ~CallGuard() {
    if (server_.closed || refused_) return;
    if (granted_)
      server_.platform.finish(call_, outcome_);
    else
      server_.platform.abandon(call_);
  }
  void granted() { granted_ = true; }
  void refused() { refused_ = true; }
  void ended(control::CallOutcome outcome) { outcome_ = outcome; }

 private:
  Server& server_;
  domain::CallId call_;
  bool granted_ = false;
  bool refused_ = false;
  control::CallOutcome outcome_ = control::CallOutcome::Unsent;
};

// A replica's address in the state lives as long as the connection object.
class ReplicaInUse final {
 public:
  ReplicaInUse(CallState& state, ReplicaConnection& connection) : state_(state) {
    state_.replica = &connection;
  }
  ~ReplicaInUse() { state_.replica = nullptr; }
  ReplicaInUse(const ReplicaInUse&) = delete;
  ReplicaInUse& operator=(const ReplicaInUse&) = delete;

 private:
  CallState& state_;
};

// Overhead is the gateway's own time before the replica had the call, waiting for it left out.
std::string call_headers(const control::Grant& grant, Duration before_grant) {
  const Duration overhead = std::max(Duration(0), before_grant - grant.waited.sum());
  const std::string tier =
      grant.cold ? fmt::format("x-glowplug-start-tier: {}\r\n", domain::to_string(grant.tier)) : "";
  return fmt::format(
      "x-glowplug-function: {}\r\nx-glowplug-revision: {}\r\nx-glowplug-cold-start: {}\r\n{}"
      "x-glowplug-overhead-ms: {:.2f}\r\n",
      grant.manifest.name, grant.revision, grant.cold, tier, to_ms(overhead));
}

// A call that waited for no start has nothing of it to tell.
std::optional<std::uint64_t> read_for(const control::Grant& grant) {
  return grant.cold ? grant.bytes_read : std::nullopt;
}

// Of Server-Timing's metrics, phases have a duration and what was read a description.
std::string timing_line(const domain::PhaseTimes& times, std::optional<std::uint64_t> bytes_read) {
  std::string line;
  times.each([&line](std::string_view name, Duration took) {
    line +=
        fmt::format("{}{};dur={:.1f}", line.empty() ? "server-timing: " : ", ", name, to_ms(took));
  });
  if (line.empty()) return line;
  if (bytes_read) line += fmt::format(", read;desc=\"{}\"", format_bytes(*bytes_read));
  return line + "\r\n";
}

ErrorAnswer replica_failed(const control::Grant& grant) {
  return to_answer(Error{std::string(error::kReplicaFailed),
                         "The replica of " + grant.manifest.name +
                             " broke off before the answer was complete; see glowplug logs " +
                             grant.manifest.name + ".",
                         ""});
}

ErrorAnswer poisonous(const control::Grant& grant) {
  const std::string& name = grant.manifest.name;
  return to_answer(Error{std::string(error::kPoisonousRequest),
                         fmt::format("Two replicas of {} ended while they ran this request, the "
                                     "second with nothing else on it, and other calls are "
                                     "answered: it is not tried again. See glowplug logs {}.",
                                     name, name),
                         ""});
}

ErrorAnswer too_late(const control::Grant& grant) {
  return to_answer(Error{
      std::string(error::kDeadlineExceeded),
      fmt::format("The call ran longer than {:.0f} s, the timeout of {}; raise limits.timeout in "
                  "the manifest.",
                  to_seconds(grant.manifest.limits.timeout), grant.manifest.name),
      ""});
}

ErrorAnswer stop_reason(const CallState& state, const control::Grant& grant) {
  return state.stopped == Stopped::Deadline ? too_late(grant) : replica_failed(grant);
}

void start_deadline(const std::shared_ptr<CallState>& state, Duration timeout) {
  state->deadline.expires_after(timeout);
  state->deadline.async_wait(
      [weak = std::weak_ptr<CallState>(state)](boost::system::error_code ec) {
        const std::shared_ptr<CallState> alive = weak.lock();  // owner: the coroutine of perform()
        if (!ec && alive) alive->stop(Stopped::Deadline);
      });
}

// Reads the answer as a whole; false when the replica broke off.
Coroutine<bool> read_whole(Caller& caller, ReplicaConnection& replica, std::string& body) {
  while (true) {
    const std::string_view piece = co_await replica.read_piece();
    if (piece.empty()) co_return replica.ended();
    caller.progressed();
    if (body.size() + piece.size() > domain::kReplicaReplyBytesMax) co_return false;
    body.append(piece);
  }
}

// The last chunk of the replica's own framing follows its last event; reading it frees the
// connection.
Coroutine<> read_to_end(ReplicaConnection& replica) {
  while (!replica.ended()) {
    const std::string_view rest = co_await replica.read_piece();
    if (rest.empty()) break;
  }
  replica.release();
}

// Passes the replica's events on, one write per piece; the next read starts when the caller has
// taken the last.
Coroutine<CallResult> relay_stream(CallContext& context, AnswerStream& answer, const CallPlan& plan,
                                   const control::Grant& grant, CallState& state,
                                   ReplicaConnection& replica, Time granted_at, Duration restored) {
  CallResult result;
  domain::PhaseTimes phases = grant.waited;
  if (restored > Duration(0)) phases[domain::Phase::Restore] = restored;
  EventStream events(StreamOptions{plan.surface, grant.manifest.name, plan.shape.include_usage,
                                   "msg_" + context.request_id.substr(4), phases,
                                   cost_teller(context.server.options, context.request_id)});
  Server& server = context.server;
  std::string held;  // what comes before the first token: until then another replica can take over
  Time first_byte_at{};
  while (!events.complete() && !events.engine_error()) {
    const std::string_view piece = co_await replica.read_piece();
    if (piece.empty()) break;
    held += events.feed(piece);
    if (held.empty() || !(events.began() || events.complete())) continue;
    const std::string text = std::exchange(held, {});
    const bool first = !result.streamed;
    bool taken = false;
    if (first) {
      result.streamed = true;
      context.answered = true;
      first_byte_at = server.clock.now();
      phases[domain::Phase::Prefill] = first_byte_at - granted_at - restored;
      note_first_byte(context, plan.function);
      const std::string headers =
          call_headers(grant, granted_at - context.started) + timing_line(phases, read_for(grant));
      taken = co_await answer.begin(headers, text);
      server.platform.began(plan.function, grant.revision, first_byte_at - context.started);
    } else {
      taken = co_await answer.write(text);
    }
    if (!taken) state.stop(Stopped::CallerGone);
    if (state.stopped == Stopped::CallerGone) break;
    events.note_handed_over();
  }
  result.usage = events.usage();
  if (result.streamed) {
    phases[domain::Phase::Decode] = server.clock.now() - first_byte_at;
    take_engine_times(phases, result.usage);
    result.phases = phases;
  }
  result.caller_gone = state.stopped == Stopped::CallerGone;
  if (result.caller_gone) {
    replica.close();
    co_return result;
  }
  if (events.complete()) {
    result.status = 200;
    co_await read_to_end(replica);
    co_await answer.end();
    co_return result;
  }
  ErrorAnswer failure = stop_reason(state, grant);
  if (events.engine_error())
    failure = from_engine(500, *events.engine_error(), grant.manifest.context);
  replica.close();
  result.replica_broke = state.stopped == Stopped::No && !events.engine_error();
  result.status = failure.status;
  if (result.streamed) {
    result.broken_by = failure.code;
    co_await answer.break_off(failure);
  } else {
    result.may_retry = result.replica_broke;
    result.failure = std::move(failure);
  }
  co_return result;
}

Coroutine<CallResult> run_granted(CallContext& context, Caller& caller, const CallPlan& plan,
                                  const control::Grant& grant,
                                  const std::shared_ptr<CallState>& state) {
  CallResult result;
  Server& server = context.server;
  if (plan.shape.uses_tools) {
    if (Result<void> tools = check_tool_template(grant.manifest, grant.facts); !tools) {
      result.failure = to_answer(tools.error());
      co_return result;
    }
  }
  const Time granted_at = server.clock.now();
  start_deadline(state, grant.manifest.limits.timeout);
  ReplicaConnection replica(server.pool, grant.endpoint);
  const ReplicaInUse in_use(*state, replica);
  const ReplicaHead head = co_await replica.exchange(plan.path, plan.body);
  if (head.status != 0) caller.progressed();
  AnswerStream* const answer = caller.stream();
  const bool streams = answer != nullptr && plan.shape.stream && head.status == 200 &&
                       head.content_type.starts_with("text/event-stream");
  if (streams) {
    result = co_await relay_stream(context, *answer, plan, grant, *state, replica, granted_at,
                                   head.restored);
  } else {
    bool whole = false;
    if (head.status != 0) whole = co_await read_whole(caller, replica, result.body);
    result.caller_gone = state->stopped == Stopped::CallerGone;
    result.headers = call_headers(grant, granted_at - context.started);
    result.bytes_read = read_for(grant);
    result.phases = grant.waited;
    if (head.restored > Duration(0)) result.phases[domain::Phase::Restore] = head.restored;
    result.phases[domain::Phase::Prefill] = server.clock.now() - granted_at - head.restored;
    if (!whole) {
      replica.close();
      result.failure = stop_reason(*state, grant);
      result.may_retry = state->stopped == Stopped::No;
      result.replica_broke = result.may_retry;
    } else {
      replica.release();
      result.status = head.status;
      result.content_type = head.content_type;
    }
  }
  state->deadline.cancel();
  result.sent = true;
  co_return result;
}

// What comes of it wakes the waiting coroutine.
domain::CallId begin_call(CallContext& context, const CallPlan& plan,
                          const std::shared_ptr<CallState>& state,
                          std::optional<domain::CallId> retry_of) {
  control::CallWish wish;
  wish.function = plan.function;
  wish.weight = plan.shape.choices;
  wish.keep_alive = plan.shape.keep_alive;
  wish.domain.salt = plan.shape.cache_salt;
  wish.prompt = plan.prompt;
  wish.retry_of = retry_of;
  wish.urgency = plan.urgency;
  return context.server.platform.call(
      std::move(wish),
      [weak = std::weak_ptr<CallState>(state)](Result<control::Grant> outcome, int retry_after_s) {
        const std::shared_ptr<CallState> alive = weak.lock();  // owner: the coroutine of perform()
        if (!alive) return;
        alive->outcome.emplace(std::move(outcome));
        alive->retry_after_s = retry_after_s;
        alive->wake.cancel();
      });
}

// A call that was broken off here tells nothing of its replica; one that hangs would get the next.
bool tells_nothing(const control::Grant& grant, const CallResult& result, const CallState& state) {
  const bool ours = grant.manifest.engine.kind != domain::EngineKind::Process;
  return ours && result.sent && state.stopped != Stopped::No;
}

// Nobody waits for this: its caller is answered meanwhile. Its slot is given back once its replica
// has shown that it lives.
Coroutine<> give_back_asked(std::shared_ptr<Server> server, control::Endpoint endpoint,
                            std::unique_ptr<CallGuard> guard) {
  const bool alive = co_await ReplicaPulse::answers(*server, std::move(endpoint));
  if (!alive) guard->ended(control::CallOutcome::ReplicaBroke);
}

control::CallOutcome outcome_of(const CallResult& result, const CallState& state) {
  if (!result.sent) return control::CallOutcome::Unsent;
  if (result.replica_broke) return control::CallOutcome::ReplicaBroke;
  // An error is an answer, but says nothing for the replica.
  const bool whole = result.status != 0 && result.status < 400 && state.stopped == Stopped::No &&
                     !result.caller_gone;
  return whole ? control::CallOutcome::Answered : control::CallOutcome::Stopped;
}

// Nobody is told so of a replica that broke off an answer and lives on, nor where its end is not
// seen in time. Its call is not given back meanwhile, so that nothing else runs on it.
Coroutine<bool> is_to_blame(Server& server, domain::CallId call, CallState& state) {
  control::Blamed blamed = server.platform.blames(call);
  for (Duration pause = kEndSeenFirst; pause <= kEndSeenLast; pause *= 2) {
    if (blamed != control::Blamed::Open || state.stopped != Stopped::No) break;
    state.wake.expires_after(pause);
    co_await state.wake.async_wait(kAwait);
    blamed = server.closed ? control::Blamed::No : server.platform.blames(call);
  }
  co_return blamed == control::Blamed::Yes;
}

Coroutine<CallResult> attempt(CallContext& context, Caller& caller, const CallPlan& plan,
                              const std::shared_ptr<CallState>& state,
                              std::optional<domain::CallId> retry_of) {
  CallResult result;
  Server& server = context.server;
  state->outcome.reset();
  const domain::CallId call = begin_call(context, plan, state, retry_of);
  auto guard = std::make_unique<CallGuard>(server, call);
  if (!state->outcome && state->stopped == Stopped::No) {
    state->wake.expires_at(std::chrono::steady_clock::time_point::max());
    co_await state->wake.async_wait(kAwait);
  }
  if (!state->outcome) {
    result.caller_gone = true;
    co_return result;
  }
  if (!state->outcome->ok()) {
    guard->refused();
    result.replica_broke = retry_of.has_value();
    result.failure = to_answer(state->outcome->error());
    result.retry_after_s = state->retry_after_s;
    co_return result;
  }
  guard->granted();
  if (state->stopped == Stopped::CallerGone) {
    result.caller_gone = true;
    co_return result;
  }
  const control::Grant grant = std::move(*state->outcome).value();
  note_grant(context, grant);
  if (retry_of) server.metrics.count_retry();
  caller.granted(grant);
  if (state->stopped == Stopped::CallerGone) {
    result.caller_gone = true;
    co_return result;
  }
  result = co_await run_granted(context, caller, plan, grant, state);
  result.call = call;
  guard->ended(outcome_of(result, *state));
  if (const auto alive = server.self.lock(); alive && tells_nothing(grant, result, *state))
    asio::co_spawn(server.io, give_back_asked(alive, grant.endpoint, std::move(guard)),
                   asio::detached);
  const bool asks = result.replica_broke && result.failure && !server.closed;
  bool to_blame = false;
  if (asks) {
    to_blame = co_await is_to_blame(server, call, *state);
    result.caller_gone = state->stopped == Stopped::CallerGone;
  }
  if (to_blame) result.failure = poisonous(grant);
  co_return result;
}

}  // namespace

Coroutine<CallResult> perform(CallContext& context, Caller& caller, const CallPlan& plan) {
  // Owner: this coroutine; the platform's callback and the timers hold weak pointers.
  const auto state = std::make_shared<CallState>(context.server.io);
  note_arrival(context, plan);
  const std::weak_ptr<CallState> weak = state;
  caller.watch({.gone =
                    [weak] {
                      if (const auto alive = weak.lock()) alive->stop(Stopped::CallerGone);
                    },
                .lost = [weak] {  // as if its connection had ended
                  const auto alive = weak.lock();
                  if (alive && alive->replica) alive->replica->close();
                }});
  CallResult result = co_await attempt(context, caller, plan, state, plan.retry_of);
  const bool again = plan.try_again == TryAgain::Once && result.may_retry && !result.caller_gone &&
                     !context.answered;
  if (again) {
    const domain::CallId first = result.call;
    result = co_await attempt(context, caller, plan, state, first);
  }
  caller.unwatch();
  co_return result;
}

void take_engine_times(domain::PhaseTimes& phases, const Usage& usage) {
  if (!usage.prefill) return;
  phases[domain::Phase::Prefill] = usage.prefill;
  phases[domain::Phase::Decode] = usage.decode;
}

std::string header_lines(const CallResult& result) {
  return result.headers + timing_line(result.phases, result.bytes_read);
}

}  // namespace glowplug::gateway
