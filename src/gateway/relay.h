// Connections to replicas: a Unix socket or a port of 127.0.0.1, kept alive in a small pool per
// endpoint until one of both ends closes them.
//
// Knows HTTP towards a replica and nothing of functions. Closing a connection is how a replica
// learns that its answer is no longer wanted.
//
// Thread: the server loop. Private to gateway/: names Asio types.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>

#include "control/platform.h"

namespace glowplug::gateway {

class ReplicaPool final {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  explicit ReplicaPool(boost::asio::io_context& io) : io_(io) {}

  // An idle connection that is still open, or null.
  std::unique_ptr<Socket> take(const std::string& key);
  void give_back(const std::string& key, std::unique_ptr<Socket> socket);
  std::size_t idle() const { return idle_.size(); }
  void clear() { idle_.clear(); }
  boost::asio::io_context& io() { return io_; }

 private:
  boost::asio::io_context& io_;
  std::multimap<std::string, std::unique_ptr<Socket>> idle_;
};

struct ReplicaHead {
  int status = 0;  // 0 = no answer came
  std::string content_type;
  Duration restored{};  // of the time to the head, what restoring a prompt's state took
};

class ReplicaConnection final {
 public:
  ReplicaConnection(ReplicaPool& pool, control::Endpoint endpoint);
  ~ReplicaConnection();

  // Sends a POST and reads the answer's header. A pooled connection that turns out dead is replaced
  // once.
  boost::asio::awaitable<ReplicaHead> exchange(const std::string& path, const std::string& body);
  boost::asio::awaitable<ReplicaHead> get(const std::string& path);  // the same with a GET
  // The next piece; empty with `ended()` at the proper end, empty without it when the replica broke
  // off.
  boost::asio::awaitable<std::string_view> read_piece();
  bool ended() const;

  void close();    // at once; a pending operation fails
  void release();  // back to the pool, when the answer was read to its end and may be followed by
                   // another

 private:
  boost::asio::awaitable<bool> open();
  boost::asio::awaitable<ReplicaHead> ask(std::string head, const std::string& body);

  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace glowplug::gateway
