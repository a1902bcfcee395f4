// One request on its way through the edge, the connection that it came by, and what all of them
// share.
//
// Private to gateway/: the only header that names Beast. Handlers get an Exchange and answer it
// once. Thread: the server loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "gateway/call_log.h"
#include "gateway/error_body.h"
#include "gateway/gateway.h"
#include "gateway/metrics.h"
#include "gateway/relay.h"

namespace glowplug::gateway {

template <typename T = void>
using Coroutine = boost::asio::awaitable<T>;

enum class Side { Main, Admin };

class Client;

struct Server {
  boost::asio::io_context& io;
  GatewayOptions options;
  control::Platform& platform;
  const Clock& clock;
  Metrics metrics;
  ReplicaPool pool;
  std::set<Client*> clients;
  std::size_t in_flight = 0;
  std::int64_t started_unix = 0;
  bool draining = false;
  bool closed = false;  // the Gateway is gone: the platform must not be called any more
  CallLog calls = CallLog();
};

// A client's socket with one watchdog for whatever it is doing at the moment.
class Client final : public std::enable_shared_from_this<Client> {
 public:
  Client(Server& server, boost::asio::ip::tcp::socket socket);
  ~Client();

  void arm(Duration limit);  // the socket's operations are cancelled when `limit` passes
  void disarm() { armed_ = false; }
  bool timed_out() const { return timed_out_; }

  // Sends it all or gives false: the client is gone, or it took nothing for kWriteStallTimeout.
  Coroutine<bool> write(std::string_view bytes);

  // Calls `gone` when the client closes its side. Bytes of a following request are no such sign.
  void watch(std::function<void()> gone);
  void unwatch();
  std::function<void()> on_drain;  // called when the server stops accepting; for endless answers

  boost::asio::ip::tcp::socket socket;
  boost::beast::flat_buffer buffer;
  bool idle = false;  // between two requests

  void begin_call();             // the head of a call has come
  void leave_call();             // and the rest of it never will
  std::optional<OpenCall> call;  // of the latest request; none when that is no call

 private:
  void schedule(Time at);
  void wait_readable();

  Server& server_;
  boost::asio::steady_timer timer_;
  Time deadline_{};
  Time scheduled_{};
  bool waiting_ = false;
  bool armed_ = false;
  bool timed_out_ = false;
  std::function<void()> gone_;
};

struct Reply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string headers;  // more header lines, each ending in \r\n
  std::string error;    // of an error, its code: it is counted under that
};

Reply json_reply(int status, std::string body);

struct Exchange {
  Server& server;
  Client& client;
  Side side = Side::Main;
  boost::beast::http::request<boost::beast::http::string_body> request;
  std::string method;
  std::string path;
  std::string query;
  std::string name;  // in the path: a function's, or a model file's digest
  std::string item;  // of it, in the path: a checkpoint's step
  std::string request_id;
  Time started{};
  bool keep_alive = true;
  bool anthropic = false;  // errors take that shape
  bool chunked = true;     // HTTP/1.1
  bool answered = false;   // some bytes of an answer were sent

  std::string_view header(std::string_view field) const;
  std::string_view query_value(std::string_view key) const;

  Reply error_reply(const ErrorAnswer& answer, int retry_after_s = 0) const;
  Reply error_reply(const Error& error, int retry_after_s = 0) const;
  // The header block; no content-length with an empty `length`, then the body is chunked or ends
  // with the connection.
  std::string head(const Reply& reply, std::optional<std::size_t> length) const;
  // Counts it too: a call that has no end yet has it now.
  Coroutine<> send(Reply reply);
  // A piece of a streamed body as it goes over the wire: a chunk, or bare in HTTP/1.0.
  std::string frame(std::string_view piece) const;
};

std::string new_request_id();

// Serves one connection until either side ends it.
Coroutine<> serve_connection(std::shared_ptr<Server> server, boost::asio::ip::tcp::socket socket,
                             Side side);

}  // namespace glowplug::gateway
