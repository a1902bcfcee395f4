// One request on its way through the edge, and the connection that it came by.
//
// Private to gateway/: the only header that names Beast. Handlers get an Exchange and answer it
// once. Thread: the server loop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "gateway/call_context.h"

namespace glowplug::gateway {

enum class Side { Main, Admin };

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

class BodyStream;

// Is a CallContext, so that every handler has both in one.
struct Exchange : CallContext {
  Client& client;
  Side side = Side::Main;
  boost::beast::http::request<boost::beast::http::string_body> request;
  std::string method;
  std::string query;
  std::string name;  // in the path: a function's, or a model file's digest
  std::string item;  // of it, in the path: a checkpoint's step
  bool keep_alive = true;
  bool chunked = true;  // HTTP/1.1
  BodyStream* body =
      nullptr;  // of a route that takes its body as it comes; request.body() is empty

  std::string_view header(std::string_view field) const;
  std::string_view query_value(std::string_view key) const;

  // The header block; no content-length with an empty `length`, then the body is chunked or ends
  // with the connection.
  std::string head(const Reply& reply, std::optional<std::size_t> length) const;
  // Counts it too: a call that has no end yet has it now.
  Coroutine<> send(Reply reply);
  // A piece of a streamed body as it goes over the wire: a chunk, or bare in HTTP/1.0.
  std::string frame(std::string_view piece) const;
};

// Serves one connection until either side ends it.
Coroutine<> serve_connection(std::shared_ptr<Server> server, boost::asio::ip::tcp::socket socket,
                             Side side);

}  // namespace glowplug::gateway
