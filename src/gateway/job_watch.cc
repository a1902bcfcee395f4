#include "gateway/job_watch.h"

#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "domain/limits.h"
#include "gateway/job_answers.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
using storage::JobView;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

Reply stream_head() {
  Reply reply;
  reply.content_type = "text/event-stream; charset=utf-8";
  reply.headers = "cache-control: no-cache\r\nx-accel-buffering: no\r\n";
  return reply;
}

}  // namespace

JobWatch::JobWatch(Exchange& exchange, domain::JobId job)
    : exchange_(exchange), state_(std::make_shared<State>(exchange.server.io)) {
  const auto tell = [weak = std::weak_ptr<State>(state_)](bool State::*what) {
    if (const std::shared_ptr<State> alive = weak.lock()) {
      (*alive).*what = true;
      alive->wake.cancel();
    }
  };
  id_ = exchange.server.options.jobs->watch(job, [tell] { tell(&State::changed); });
  exchange.client.watch([tell] { tell(&State::client_gone); });
  exchange.client.on_drain = [tell] { tell(&State::changed); };
}

JobWatch::~JobWatch() {
  if (exchange_.server.closed) return;
  exchange_.server.options.jobs->unwatch(id_);
  exchange_.client.unwatch();
  exchange_.client.on_drain = nullptr;
}

Coroutine<bool> JobWatch::wait(Time until) {
  if (!state_->changed && !state_->client_gone) {
    state_->wake.expires_at(until);
    co_await state_->wake.async_wait(kAwait);
  }
  co_return std::exchange(state_->changed, false);
}

// The head goes with the first event.
Coroutine<> stream_job(Exchange& exchange, JobWatch& watch, JobView first, RenderJob render) {
  if (!exchange.chunked) exchange.keep_alive = false;
  std::string message = exchange.head(stream_head(), std::nullopt);
  exchange.answered = true;
  Result<JobView> view = std::move(first);
  bool over = false;
  bool gone = false;
  while (view) {
    over = is_terminal(view->state);
    if (const std::string events = render(*view); !events.empty())
      message += exchange.frame(events);
    bool sent = true;
    if (!message.empty()) sent = co_await exchange.client.write(message);
    message.clear();
    gone = !sent || watch.client_gone();
    if (over || gone || exchange.server.draining) break;
    const Time ping_at = std::chrono::steady_clock::now() + domain::kEventPing;
    const bool changed = co_await watch.wait(ping_at);
    if (!changed) message = exchange.frame(": ping\n\n");
    gone = watch.client_gone();
    if (gone) break;
    view = co_await look_at(exchange.server, view->id);
  }
  if (!over || gone) exchange.keep_alive = false;
  if (gone || !view || !exchange.chunked) co_return;
  const std::string_view last = "0\r\n\r\n";
  const bool ended = co_await exchange.client.write(last);  // in a condition GCC 12 breaks it
  if (!ended) exchange.keep_alive = false;
}

}  // namespace glowplug::gateway
