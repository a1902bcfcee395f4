// One HTTP exchange with a replica: connect, ask, read the answer, close.
//
// For what the server itself asks of a process: whether it is ready, that it sleeps. Calls go
// through gateway/relay, which streams.
//
// Thread: the loop's. `done` is called once, later, from the loop; after the destructor it is not
// called. It may destroy the request.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/time_types.h"
#include "control/platform.h"

namespace boost::asio {
class io_context;
}

namespace glowplug::runtime {

enum class HttpMethod { Get, Post };
enum class ReplyPart { Head, Whole };  // Head: the status is all that counts

struct ReplicaAsk {
  control::Endpoint endpoint;
  HttpMethod method = HttpMethod::Get;
  std::string target;
  std::string body = {};  // JSON; empty = none
  ReplyPart part = ReplyPart::Whole;
  Duration timeout{};  // of the whole exchange
};

struct ReplicaReply {
  int status = 0;
  std::string body;
};

class ReplicaRequest final {
 public:
  // The error says in words what kept the answer away.
  using Done = std::function<void(Result<ReplicaReply>)>;

  ReplicaRequest(boost::asio::io_context& loop, ReplicaAsk ask, Done done);
  ~ReplicaRequest();
  ReplicaRequest(const ReplicaRequest&) = delete;
  ReplicaRequest& operator=(const ReplicaRequest&) = delete;

 private:
  class State;
  std::shared_ptr<State> state_;  // owners: this request and the handlers of its exchange
};

}  // namespace glowplug::runtime
