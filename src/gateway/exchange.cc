#include "gateway/exchange.h"

#include <algorithm>
#include <ctime>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/status.hpp>
#include <sys/socket.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "fmt/format.h"
#include "gateway/body_stream.h"
#include "gateway/receipts.h"

namespace glowplug::gateway {

namespace asio = boost::asio;

namespace {

std::string http_date(WallTime now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[40];
  const std::size_t length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, length);
}

void count(const Exchange& exchange, const Reply& reply) {
  const bool is_error = reply.status >= 400;
  if (exchange.open != nullptr)
    exchange.open->end("", is_error ? CallFate::Refused : CallFate::Answered,
                       is_error ? std::string_view(reply.error) : call_reason::kComplete);
  else if (is_error)
    exchange.server.metrics.count_request_refused(reply.error);
}

bool may_have_body(int status) { return status != 204 && status != 304; }

}  // namespace

Client::Client(Server& server, asio::ip::tcp::socket socket_in)
    : socket(std::move(socket_in)), server_(server), timer_(server.io) {
  boost::system::error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  server_.clients.insert(this);
}

Client::~Client() { server_.clients.erase(this); }

void Client::arm(Duration limit) {
  armed_ = true;
  timed_out_ = false;
  deadline_ = std::chrono::steady_clock::now() + limit;
  if (!waiting_ || deadline_ < scheduled_) schedule(deadline_);
}

void Client::schedule(Time at) {
  waiting_ = true;
  scheduled_ = at;
  timer_.expires_at(at);
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
    const std::shared_ptr<Client> self = weak.lock();  // owner: the connection's coroutine
    if (ec || !self) return;
    self->waiting_ = false;
    if (!self->armed_) return;
    if (std::chrono::steady_clock::now() < self->deadline_) {
      self->schedule(self->deadline_);
      return;
    }
    self->armed_ = false;
    self->timed_out_ = true;
    boost::system::error_code ignored;
    self->socket.cancel(ignored);
  });
}

void Client::begin_call() { call.emplace(server_.metrics.calls()); }

void Client::leave_call() {
  if (call) call->end("", CallFate::Cancelled, call_reason::kSending);
}

Coroutine<bool> Client::write(std::string_view bytes) {
  while (!bytes.empty()) {
    arm(domain::kWriteStallTimeout);
    auto [ec, written] =
        co_await socket.async_write_some(asio::buffer(bytes), asio::as_tuple(asio::use_awaitable));
    disarm();
    if (ec) co_return false;
    bytes.remove_prefix(written);
  }
  co_return true;
}

void Client::watch(std::function<void()> gone) {
  gone_ = std::move(gone);
  if (buffer.size() == 0) wait_readable();
}

void Client::unwatch() {
  if (!gone_) return;
  gone_ = nullptr;
  boost::system::error_code ignored;
  socket.cancel(ignored);
}

void Client::wait_readable() {
  socket.async_wait(
      asio::ip::tcp::socket::wait_read, [weak = weak_from_this()](boost::system::error_code ec) {
        const std::shared_ptr<Client> self = weak.lock();  // owner: the connection's coroutine
        if (ec || !self || !self->gone_) return;
        char byte = 0;
        const ssize_t got = ::recv(self->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (got > 0) return;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
          self->wait_readable();
          return;
        }
        const std::function<void()> gone = std::move(self->gone_);
        self->gone_ = nullptr;
        gone();
      });
}

std::string_view Exchange::header(std::string_view field) const {
  const auto value = request[boost::beast::string_view(field.data(), field.size())];
  return std::string_view(value.data(), value.size());
}

std::string_view Exchange::query_value(std::string_view key) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const std::size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == key) return pair.substr(std::min(equals + 1, pair.size()));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

std::string Exchange::head(const Reply& reply, std::optional<std::size_t> length) const {
  const auto reason =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(reply.status));
  const double spent = to_ms(server.clock.now() - started);
  std::string text = fmt::format(
      "HTTP/1.1 {} {}\r\ndate: {}\r\nx-request-id: {}\r\nopenai-processing-ms: {:.0f}\r\n"
      "openai-version: 2020-10-01\r\n",
      reply.status, std::string_view(reason.data(), reason.size()),
      http_date(server.clock.wall_now()), request_id, spent);
  if (may_have_body(reply.status)) text += "content-type: " + reply.content_type + "\r\n";
  if (length) {
    if (may_have_body(reply.status)) text += fmt::format("content-length: {}\r\n", *length);
  } else if (chunked) {
    text += "transfer-encoding: chunked\r\n";
  }
  if (!keep_alive)
    text += "connection: close\r\n";
  else if (!chunked)
    text += "connection: keep-alive\r\n";
  text += reply.headers;
  text += cost_line(receipt);
  text += "\r\n";
  return text;
}

Coroutine<> Exchange::send(Reply reply) {
  count(*this, reply);
  if (server.draining || (body != nullptr && !body->done())) keep_alive = false;
  std::string message = head(reply, reply.body.size());
  if (method != "HEAD" && may_have_body(reply.status)) message += reply.body;
  answered = true;
  const bool sent = co_await client.write(message);
  if (!sent) keep_alive = false;
}

std::string Exchange::frame(std::string_view piece) const {
  if (!chunked) return std::string(piece);
  std::string text = fmt::format("{:x}\r\n", piece.size());
  text.append(piece).append("\r\n");
  return text;
}

}  // namespace glowplug::gateway
