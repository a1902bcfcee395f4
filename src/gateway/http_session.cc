#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/body_stream.h"
#include "gateway/exchange.h"
#include "gateway/pipeline.h"
#include "gateway/routes.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace error = domain::error;
using Parser = http::request_parser<http::string_body>;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// Of an upload: the largest file, and what a form has around it.
constexpr std::uint64_t kStreamedBytesMax = domain::kFileBytesMax + 256 * 1024;
constexpr std::size_t kLingerBytesMax =
    32 * 1024 * 1024;  // read and dropped so that the refusal is seen

class InFlight final {
 public:
  explicit InFlight(Server& server) : server_(server) { ++server_.in_flight; }
  ~InFlight() { --server_.in_flight; }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

 private:
  Server& server_;
};

Error read_fault(const boost::system::error_code& ec, bool timed_out, std::uint64_t body_max) {
  if (timed_out) {
    return Error{std::string(error::kRequestTimeout),
                 "The request did not arrive within the time for it.", ""};
  }
  if (ec == http::error::body_limit) {
    return Error{std::string(error::kRequestTooLarge),
                 "The body is over the limit of " + std::to_string(body_max) + " bytes.", ""};
  }
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    return Error{std::string(error::kHeadersTooLarge),
                 "The header block is over the limit of " +
                     std::to_string(domain::kHeaderBytesMax) + " bytes.",
                 ""};
  }
  return Error{std::string(error::kBadRequest),
               "The HTTP message is malformed: " + ec.message() + ".", ""};
}

// What is sent in another coding would be read as it is not meant, or by a proxy as another
// message.
std::optional<Error> coding_fault(const Parser& parser) {
  const std::string_view coding = parser.get()[http::field::transfer_encoding];
  if (coding.empty() || boost::beast::iequals(coding, "chunked")) return std::nullopt;
  return Error{std::string(error::kBadRequest),
               fmt::format("Transfer-Encoding is \"{}\"; send the body as it is, or chunked.",
                           coding.substr(0, 40)),
               ""};
}

bool client_left(const boost::system::error_code& ec) {
  return ec == http::error::end_of_stream || ec == http::error::partial_message ||
         ec == asio::error::eof || ec == asio::error::connection_reset ||
         ec == asio::error::broken_pipe;
}

// Takes what is still on its way for a moment, since a reset would destroy the refusal unread.
Coroutine<> linger(Client& client) {
  boost::system::error_code ignored;
  client.socket.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  std::array<char, 16 * 1024> sink;
  std::size_t dropped = 0;
  client.arm(std::chrono::seconds(2));
  while (dropped < kLingerBytesMax) {
    auto [ec, count] = co_await client.socket.async_read_some(asio::buffer(sink), kAwait);
    if (ec) break;
    dropped += count;
  }
  client.disarm();
}

// Reads one request. On a fault `fault` says what to answer, or nothing when the client simply
// left.
struct ReadOutcome {
  bool ok = false;
  bool streamed = false;  // the head alone is read
  std::optional<Error> fault;
};

// Known from the head on, however long the body takes.
const Route* route_of(const Parser& parser, Side side) {
  const auto method = parser.get().method_string();
  const auto target = parser.get().target();
  const std::string_view path(target.data(), std::min(target.find('?'), target.size()));
  return find_route({method.data(), method.size()}, path, side).route;
}

// The parser lets through what the largest body may have; most routes take less.
boost::system::error_code limit_body(Parser& parser) {
  parser.body_limit(domain::kBodyBytesMax);
  const auto announced = parser.content_length();
  if (announced && *announced > domain::kBodyBytesMax) return http::error::body_limit;
  return {};
}

Coroutine<ReadOutcome> read_request(Client& client, Parser& parser, Side side, bool first) {
  ReadOutcome outcome;
  client.call.reset();
  if (client.buffer.size() == 0) {
    client.idle = true;
    client.arm(first ? domain::kHeaderTimeout : domain::kIdleConnectionTimeout);
    auto [ec, count] =
        co_await client.socket.async_read_some(client.buffer.prepare(8 * 1024), kAwait);
    client.disarm();
    client.idle = false;
    if (ec) co_return outcome;
    client.buffer.commit(count);
  }
  client.arm(domain::kHeaderTimeout);
  auto [head_ec, head_count] =
      co_await http::async_read_header(client.socket, client.buffer, parser, kAwait);
  boost::system::error_code ec = head_ec;
  const bool has_head = !ec || ec == http::error::body_limit;
  const Route* route = has_head ? route_of(parser, side) : nullptr;
  if (route != nullptr && route->infers == Infers::Yes) client.begin_call();
  outcome.streamed = route != nullptr && route->body == Body::Streamed;
  if (!ec && !outcome.streamed) ec = limit_body(parser);
  if (!ec) outcome.fault = coding_fault(parser);
  if (outcome.fault) {
    client.disarm();
    co_return outcome;
  }
  if (!ec && !outcome.streamed && !parser.is_done()) {
    const auto expect = parser.get()[http::field::expect];
    if (boost::beast::iequals(expect, "100-continue")) {
      if (!co_await client.write("HTTP/1.1 100 Continue\r\n\r\n")) {
        client.leave_call();
        co_return outcome;
      }
    }
    client.arm(domain::kBodyTimeout);
    auto [body_ec, body_count] =
        co_await http::async_read(client.socket, client.buffer, parser, kAwait);
    ec = body_ec;
  }
  client.disarm();
  if (!ec) {
    outcome.ok = true;
  } else if (client.timed_out() || !(client_left(ec) || ec == asio::error::operation_aborted)) {
    outcome.fault = read_fault(ec, client.timed_out(),
                               outcome.streamed ? kStreamedBytesMax : domain::kBodyBytesMax);
  } else {
    client.leave_call();
  }
  co_return outcome;
}

// What was thrown, or nothing: an exception may cost its request the answer, never the connection
// without a word.
Coroutine<std::string> run_guarded(Exchange& exchange) {
  try {
    co_await run_pipeline(exchange);
  } catch (const std::exception& thrown) {
    co_return fmt::format("internal error: {}", thrown.what());
  }
  co_return std::string();
}

Coroutine<> answer_fault(Exchange& exchange, const std::string& fault) {
  spdlog::error("request={} {} {} {}", exchange.request_id, exchange.method, exchange.path, fault);
  exchange.keep_alive = false;
  if (exchange.open != nullptr) exchange.open->end("", CallFate::Broken, error::kServerError);
  if (exchange.answered) co_return;
  Reply reply = exchange.error_reply(Error{std::string(error::kServerError), fault, ""});
  co_await exchange.send(std::move(reply));
}

void take_target(Exchange& exchange) {
  const auto method = exchange.request.method_string();
  exchange.method.assign(method.data(), method.size());
  const auto target = exchange.request.target();
  std::string_view text(target.data(), target.size());
  const std::size_t mark = std::min(text.find('?'), text.size());
  exchange.path.assign(text.substr(0, mark));
  if (mark < text.size()) exchange.query.assign(text.substr(mark + 1));
}

}  // namespace

Coroutine<> serve_connection(std::shared_ptr<Server> server, asio::ip::tcp::socket socket,
                             Side side) {
  // Owner: this coroutine; timer and readiness handlers hold weak pointers.
  const auto client = std::make_shared<Client>(*server, std::move(socket));
  client->buffer.max_size(domain::kHeaderBytesMax + 64 * 1024);
  bool first = true;
  bool more = true;
  while (more && !server->closed) {
    Parser parser;
    parser.header_limit(static_cast<std::uint32_t>(domain::kHeaderBytesMax));
    parser.body_limit(kStreamedBytesMax);
    const ReadOutcome read = co_await read_request(*client, parser, side, first);
    first = false;
    if (!read.ok && !read.fault) break;
    if (server->closed) break;
    const InFlight counted(*server);
    Exchange exchange{{*server}, *client};
    exchange.open = client->call ? &*client->call : nullptr;
    exchange.side = side;
    exchange.started = server->clock.now();
    exchange.request_id = new_request_id();
    if (read.fault) {
      exchange.keep_alive = false;
      Reply refusal = exchange.error_reply(*read.fault);
      co_await exchange.send(std::move(refusal));
      co_await linger(*client);
      break;
    }
    exchange.keep_alive = parser.keep_alive() && !server->draining;
    std::unique_ptr<BodyStream> body;
    if (read.streamed) {
      exchange.request.base() = parser.get().base();
      body = std::make_unique<BodyStream>(*client, std::move(parser), kStreamedBytesMax);
      exchange.body = body.get();
    } else {
      exchange.request = parser.release();
    }
    exchange.chunked = exchange.request.version() >= 11;
    take_target(exchange);
    const std::string fault = co_await run_guarded(exchange);
    if (!fault.empty()) co_await answer_fault(exchange, fault);
    more = exchange.keep_alive && !server->draining;
    if (body && !body->done() && !body->client_gone()) co_await linger(*client);
  }
  boost::system::error_code ignored;
  client->socket.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  client->socket.close(ignored);
}

}  // namespace glowplug::gateway
