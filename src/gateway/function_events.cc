// GET /v1/functions/{name}/events: what a function does, as server-sent events, until it is
// deleted, the client leaves or the server drains. It looks and never touches: no call, no start,
// no idle timer.
#include <memory>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "fmt/format.h"
#include "gateway/event_pacer.h"
#include "gateway/function_json.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace error = domain::error;
namespace json = boost::json;
using Send = EventPacer::Send;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr int kFullRetrySeconds = 5;
constexpr int kDrainRetrySeconds = 1;
// A client that takes nothing may not hold up the server's end for longer.
constexpr Duration kDrainWriteMax = std::chrono::seconds(1);

// What the platform, the client's leaving and the drain tell the stream from outside.
struct Feed {
  Feed(asio::io_context& io, Time now) : wake(io), pacer(now) {}

  asio::steady_timer wake;
  EventPacer pacer;
  bool writing = false;
  bool client_gone = false;
};

// Ties a feed to those who tell it, for as long as it lives. They hold weak pointers: what comes
// late finds nobody.
class Subscription final {
 public:
  Subscription(Exchange& exchange, domain::WatchId watch, const std::shared_ptr<Feed>& feed)
      : exchange_(exchange), watch_(watch) {
    Client& client = exchange.client;
    client.watch([weak = std::weak_ptr<Feed>(feed)] {
      if (const std::shared_ptr<Feed> alive = weak.lock()) {  // owner: run_events()
        alive->client_gone = true;
        alive->wake.cancel();
      }
    });
    client.on_drain = [weak = std::weak_ptr<Feed>(feed), &client] {
      const std::shared_ptr<Feed> alive = weak.lock();  // owner: run_events()
      if (!alive) return;
      alive->wake.cancel();
      if (!alive->writing) return;
      alive->client_gone = true;  // what is being written now is what it does not take
      client.arm(kDrainWriteMax);
    };
  }
  ~Subscription() {
    if (exchange_.server.closed) return;
    exchange_.server.platform.unwatch(watch_);
    exchange_.client.unwatch();
    exchange_.client.on_drain = nullptr;
  }
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

 private:
  Exchange& exchange_;
  domain::WatchId watch_;
};

Reply events_head() {
  Reply reply;
  reply.content_type = "text/event-stream; charset=utf-8";
  reply.headers = "cache-control: no-cache\r\nx-accel-buffering: no\r\n";
  return reply;
}

std::string event_text(const Exchange& exchange, Send send,
                       const std::optional<control::FunctionView>& view) {
  if (send == Send::Ping) return ": ping\n\n";
  if (send == Send::Deleted)
    return fmt::format(
        "event: deleted\ndata: {}\n\n",
        json::serialize(
            json::object{{"object", "function"}, {"function", exchange.name}, {"deleted", true}}));
  if (send == Send::Progress)
    return fmt::format("event: progress\ndata: {}\n\n", json::serialize(progress_object(*view)));
  return fmt::format("event: state\ndata: {}\n\n",
                     json::serialize(function_document(*view, exchange.server.options,
                                                       exchange.server.clock.now())));
}

// One write at a time: while the client takes nothing, the pacer gathers what is owed to it.
Coroutine<> stream(Exchange& exchange, Feed& feed) {
  Server& server = exchange.server;
  std::string message = exchange.head(events_head(), std::nullopt);
  exchange.answered = true;
  Send send = Send::Nothing;
  while (!feed.client_gone && send != Send::Deleted) {
    send = feed.pacer.next(server.clock.now());
    if (send == Send::Nothing) {
      if (server.draining) break;
      feed.wake.expires_at(feed.pacer.wake_at());
      co_await feed.wake.async_wait(kAwait);
      continue;
    }
    const auto view = server.platform.function(exchange.name);  // as it is now, not as it was noted
    if (!view) send = Send::Deleted;
    message += exchange.frame(event_text(exchange, send, view));
    feed.writing = true;
    if (!co_await exchange.client.write(message)) feed.client_gone = true;
    feed.writing = false;
    message.clear();
  }
  if (server.draining || feed.client_gone) exchange.keep_alive = false;
  if (feed.client_gone || !exchange.chunked) co_return;
  if (!co_await exchange.client.write("0\r\n\r\n")) exchange.keep_alive = false;
}

}  // namespace

Coroutine<> run_events(Exchange& exchange) {
  Server& server = exchange.server;
  if (!server.platform.function(exchange.name)) {
    Reply absent = no_function(exchange);
    co_await exchange.send(std::move(absent));
    co_return;
  }
  if (!server.platform.admitting()) {
    Reply draining =
        exchange.error_reply(Error{std::string(error::kShuttingDown),
                                   "The server is draining and opens no new streams.", ""},
                             kDrainRetrySeconds);
    co_await exchange.send(std::move(draining));
    co_return;
  }
  if (!exchange.chunked) exchange.keep_alive = false;
  if (exchange.method == "HEAD") {
    const std::string head = exchange.head(events_head(), std::nullopt);
    if (!co_await exchange.client.write(head)) exchange.keep_alive = false;
    co_return;
  }
  // Owner: this coroutine.
  const auto feed = std::make_shared<Feed>(server.io, server.clock.now());
  const Result<domain::WatchId> watch = server.platform.watch(
      exchange.name, [weak = std::weak_ptr<Feed>(feed)](control::Change change) {
        const std::shared_ptr<Feed> alive = weak.lock();  // owner: run_events()
        if (!alive) return;
        alive->pacer.note(change);
        alive->wake.cancel();
      });
  if (!watch) {
    server.metrics.count_stream_refused();
    Reply refusal = exchange.error_reply(watch.error(), kFullRetrySeconds);
    co_await exchange.send(std::move(refusal));
    co_return;
  }
  const Subscription subscription(exchange, *watch, feed);
  co_await stream(exchange, *feed);
}

}  // namespace glowplug::gateway
