#include "gateway/relay.h"

#include <charconv>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <sys/socket.h>

#include "domain/limits.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr std::size_t kIdlePerEndpoint = 16;
constexpr std::size_t kIdleTotal = 256;
constexpr std::size_t kPieceBytes = 16 * 1024;
constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

std::string key_of(const control::Endpoint& endpoint) {
  return endpoint.socket_path.empty() ? ":" + std::to_string(endpoint.port) : endpoint.socket_path;
}

// An idle connection has nothing to read; bytes or an end mean that it cannot carry another
// exchange.
bool is_quiet(ReplicaPool::Socket& socket) {
  char byte = 0;
  const ssize_t got = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

// Of a header of our own worker's; nothing of what is no number.
Duration microseconds(std::string_view text) {
  long count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return std::chrono::microseconds(std::max(0L, count));
}

}  // namespace

std::unique_ptr<ReplicaPool::Socket> ReplicaPool::take(const std::string& key) {
  for (auto found = idle_.find(key); found != idle_.end(); found = idle_.find(key)) {
    std::unique_ptr<Socket> socket = std::move(found->second);
    idle_.erase(found);
    socket->cancel();  // nobody waits for its end any more
    if (is_quiet(*socket)) return socket;
  }
  return nullptr;
}

void ReplicaPool::give_back(const std::string& key, std::unique_ptr<Socket> socket) {
  if (idle_.size() >= kIdleTotal || idle_.count(key) >= kIdlePerEndpoint) return;
  Socket& idle = *socket;
  idle_.emplace(key, std::move(socket));
  // Its replica closes it, or says what nobody asked for.
  idle.async_wait(Socket::wait_read, [this, &idle](const boost::system::error_code& stopped) {
    if (stopped) return;
    std::erase_if(idle_, [&idle](const auto& entry) { return entry.second.get() == &idle; });
  });
}

struct ReplicaConnection::Parts {
  Parts(ReplicaPool& pool_in, control::Endpoint endpoint_in)
      : pool(pool_in), endpoint(std::move(endpoint_in)), key(key_of(endpoint)) {}

  ReplicaPool& pool;
  control::Endpoint endpoint;
  std::string key;
  std::unique_ptr<ReplicaPool::Socket> socket;
  boost::beast::flat_buffer buffer;
  std::unique_ptr<http::response_parser<http::buffer_body>> parser;
  std::array<char, kPieceBytes> piece;
  bool closed = false;
};

ReplicaConnection::ReplicaConnection(ReplicaPool& pool, control::Endpoint endpoint)
    : parts_(std::make_unique<Parts>(pool, std::move(endpoint))) {}

ReplicaConnection::~ReplicaConnection() = default;

asio::awaitable<bool> ReplicaConnection::open() {
  parts_->socket = std::make_unique<ReplicaPool::Socket>(parts_->pool.io());
  ReplicaPool::Socket& socket = *parts_->socket;
  boost::system::error_code ec;
  if (parts_->endpoint.socket_path.empty()) {
    const asio::ip::tcp::endpoint tcp(asio::ip::address_v4::loopback(),
                                      static_cast<unsigned short>(parts_->endpoint.port));
    std::tie(ec) =
        co_await socket.async_connect(asio::generic::stream_protocol::endpoint(tcp), kAwait);
    boost::system::error_code ignored;
    if (!ec) socket.set_option(asio::ip::tcp::no_delay(true), ignored);
    co_return !ec && !parts_->closed;
  }
  if (parts_->endpoint.socket_path.size() >= 108) co_return false;  // sun_path of Linux
  const asio::local::stream_protocol::endpoint local(parts_->endpoint.socket_path);
  std::tie(ec) =
      co_await socket.async_connect(asio::generic::stream_protocol::endpoint(local), kAwait);
  co_return !ec && !parts_->closed;
}

asio::awaitable<ReplicaHead> ReplicaConnection::exchange(const std::string& path,
                                                         const std::string& body) {
  std::string head =
      "POST " + path +
      " HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: " +
      std::to_string(body.size()) + "\r\n\r\n";
  return ask(std::move(head), body);
}

asio::awaitable<ReplicaHead> ReplicaConnection::get(const std::string& path) {
  static const std::string kNoBody;
  return ask("GET " + path + " HTTP/1.1\r\nhost: localhost\r\n\r\n", kNoBody);
}

asio::awaitable<ReplicaHead> ReplicaConnection::ask(std::string head, const std::string& body) {
  ReplicaHead answer;
  parts_->socket = parts_->pool.take(parts_->key);
  bool reused = parts_->socket != nullptr;
  while (!parts_->closed) {
    if (!reused && !co_await open()) co_return answer;
    parts_->buffer.clear();
    parts_->parser = std::make_unique<http::response_parser<http::buffer_body>>();
    parts_->parser->header_limit(domain::kHeaderBytesMax);
    parts_->parser->body_limit(boost::none);
    const std::array<asio::const_buffer, 2> message{asio::buffer(head), asio::buffer(body)};
    auto [write_ec, written] = co_await asio::async_write(*parts_->socket, message, kAwait);
    boost::system::error_code ec = write_ec;
    if (!ec && !parts_->closed) {
      auto [read_ec, read] = co_await http::async_read_header(*parts_->socket, parts_->buffer,
                                                              *parts_->parser, kAwait);
      ec = read_ec;
    }
    if (!ec && !parts_->closed) {
      answer.status = static_cast<int>(parts_->parser->get().result_int());
      const auto type = parts_->parser->get()[http::field::content_type];
      answer.content_type.assign(type.data(), type.size());
      const auto restored = parts_->parser->get()["x-glowplug-restored-us"];
      answer.restored = microseconds({restored.data(), restored.size()});
      // Not eager: a chunk is handed on when it is there, not when the one after it has begun.
      parts_->parser->eager(false);
      co_return answer;
    }
    if (!reused) co_return answer;
    reused = false;
  }
  co_return answer;
}

asio::awaitable<std::string_view> ReplicaConnection::read_piece() {
  while (!parts_->parser->is_done() && !parts_->closed) {
    auto& sink = parts_->parser->get().body();
    sink.data = parts_->piece.data();
    sink.size = parts_->piece.size();
    sink.more = true;
    auto [ec, count] =
        co_await http::async_read_some(*parts_->socket, parts_->buffer, *parts_->parser, kAwait);
    const std::size_t got = parts_->piece.size() - parts_->parser->get().body().size;
    if (got > 0) co_return std::string_view(parts_->piece.data(), got);
    if (ec && ec != http::error::need_buffer) co_return std::string_view();
  }
  co_return std::string_view();
}

bool ReplicaConnection::ended() const {
  return parts_->parser && parts_->parser->is_done() && !parts_->closed;
}

void ReplicaConnection::close() {
  parts_->closed = true;
  boost::system::error_code ignored;
  if (parts_->socket) parts_->socket->close(ignored);
}

void ReplicaConnection::release() {
  if (!ended() || !parts_->socket || !parts_->parser->keep_alive() || parts_->buffer.size() > 0)
    return;
  parts_->pool.give_back(parts_->key, std::move(parts_->socket));
}

}  // namespace glowplug::gateway
