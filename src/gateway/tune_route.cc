// POST /v1/functions/{name}/tune: measures the function, and tells of each choice of settings as a
// server-sent event. The client's leaving ends the tune.
#include <deque>
#include <memory>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>

#include "domain/errors.h"
#include "domain/limits.h"
#include "fmt/format.h"
#include "gateway/json_text.h"
#include "gateway/request_fields.h"
#include "gateway/routes.h"
#include "models/tuning_record.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace error = domain::error;
namespace json = boost::json;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// What the platform and the client's leaving tell the stream from outside. Bounded: a tune has at
// most kTuneTrialsMax trials and one end.
struct Feed {
  explicit Feed(asio::io_context& io) : wake(io) {}

  asio::steady_timer wake;
  std::deque<control::TuneNews> news;
  bool client_gone = false;
};

// Ties a feed to those who tell it, for as long as it lives. They hold weak pointers.
class Subscription final {
 public:
  Subscription(Exchange& exchange, domain::TuneId tune, const std::shared_ptr<Feed>& feed)
      : exchange_(exchange), tune_(tune) {
    exchange.client.watch([weak = std::weak_ptr<Feed>(feed)] {
      if (const std::shared_ptr<Feed> alive = weak.lock()) {  // owner: run_tune()
        alive->client_gone = true;
        alive->wake.cancel();
      }
    });
  }
  ~Subscription() {
    if (exchange_.server.closed) return;
    exchange_.server.platform.abandon_tune(tune_);
    exchange_.client.unwatch();
  }
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

 private:
  Exchange& exchange_;
  domain::TuneId tune_;
};

Result<control::TuneWish> read_wish(const Exchange& exchange) {
  control::TuneWish wish{.function = exchange.name};
  if (exchange.request.body().empty()) return wish;
  const Result<json::object> request = parse_object(exchange.request.body());
  if (!request) return request.error();
  for (const auto& member : *request) {
    const std::string_view key(member.key().data(), member.key().size());
    if (auto known = check_known(key, {"apply", "force"}); !known) return known.error();
    if (auto is_bool = check_kind(*request, key, JsonKind::Bool); !is_bool) return is_bool.error();
  }
  if (flag(*request, "apply")) wish.apply = control::Apply::Yes;
  if (flag(*request, "force")) wish.beside_calls = control::BesideCalls::Measure;
  return wish;
}

std::string event_text(const Exchange& exchange, const control::TrialNews& news) {
  json::object data = models::trial_object(news.trial);
  data["function"] = exchange.name;
  data["done"] = news.done;
  data["of"] = news.of;
  return fmt::format("event: trial\ndata: {}\n\n", json::serialize(data));
}

std::string event_text(const Exchange& exchange, const control::TuneEnd& end) {
  json::object data{{"object", "tune"}, {"function", exchange.name}, {"revision", end.revision}};
  if (end.applied) data["applied_revision"] = *end.applied;
  for (auto& [key, value] : models::tune_object(end.result)) data[key] = value;
  return fmt::format("event: result\ndata: {}\n\n", json::serialize(data));
}

std::string event_text(const Exchange&, const Error& failed) {
  return fmt::format("event: error\ndata: {}\n\n", error_json(to_answer(failed)));
}

Coroutine<> stream(Exchange& exchange, Feed& feed) {
  Reply head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = "cache-control: no-cache\r\nx-accel-buffering: no\r\n";
  std::string message = exchange.head(head, std::nullopt);
  exchange.answered = true;
  bool ended = false;
  while (!feed.client_gone) {
    if (!message.empty() && !co_await exchange.client.write(message)) feed.client_gone = true;
    message.clear();
    if (ended || feed.client_gone) break;
    if (feed.news.empty()) {
      feed.wake.expires_after(domain::kEventPing);
      const auto [code] = co_await feed.wake.async_wait(kAwait);
      if (!code && feed.news.empty()) message = exchange.frame(": ping\n\n");
      continue;
    }
    const control::TuneNews news = std::move(feed.news.front());
    feed.news.pop_front();
    ended = !std::holds_alternative<control::TrialNews>(news);
    message = exchange.frame(
        std::visit([&exchange](const auto& one) { return event_text(exchange, one); }, news));
  }
  if (feed.client_gone) exchange.keep_alive = false;
  if (feed.client_gone || !exchange.chunked) co_return;
  if (!co_await exchange.client.write("0\r\n\r\n")) exchange.keep_alive = false;
}

}  // namespace

Coroutine<> run_tune(Exchange& exchange) {
  const Result<control::TuneWish> wish = read_wish(exchange);
  if (!wish) {
    Reply refusal = exchange.error_reply(wish.error());
    co_await exchange.send(std::move(refusal));
    co_return;
  }
  // Owner: this coroutine.
  const auto feed = std::make_shared<Feed>(exchange.server.io);
  const Result<domain::TuneId> tune = exchange.server.platform.tune(
      *wish, [weak = std::weak_ptr<Feed>(feed)](const control::TuneNews& news) {
        const std::shared_ptr<Feed> alive = weak.lock();  // owner: run_tune()
        if (!alive) return;
        alive->news.push_back(news);
        alive->wake.cancel();
      });
  if (!tune) {
    Reply refusal = exchange.error_reply(tune.error());
    co_await exchange.send(std::move(refusal));
    co_return;
  }
  if (!exchange.chunked) exchange.keep_alive = false;
  const Subscription subscription(exchange, *tune, feed);
  co_await stream(exchange, *feed);
}

}  // namespace glowplug::gateway
