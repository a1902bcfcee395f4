// What every call has on its way through the edge, whoever made it: a client (exchange.h) or a job
// (job_runner.h); and what all of them share.
//
// Private to gateway/. Thread: the server loop.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "domain/job.h"
#include "domain/receipt.h"
#include "gateway/call_counts.h"
#include "gateway/call_log.h"
#include "gateway/error_body.h"
#include "gateway/gateway.h"
#include "gateway/metrics.h"
#include "gateway/relay.h"
#include "policy/device_time.h"

namespace glowplug::gateway {

template <typename T = void>
using Coroutine = boost::asio::awaitable<T>;

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
  std::weak_ptr<Server> self = {};  // for what goes on once its call is answered
};

struct Reply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string headers;  // more header lines, each ending in \r\n
  std::string error;    // of an error, its code: it is counted under that
};

Reply json_reply(int status, std::string body);

struct CallContext {
  Server& server;
  std::string path;  // of the route that it came by
  std::string request_id;
  std::string client_request;        // the caller's own id of it, usable_request_id(); may be empty
  std::optional<domain::JobId> job;  // that it is an attempt of
  Time started{};
  bool anthropic = false;                            // errors take that shape
  bool answered = false;                             // its caller has some bytes of an answer
  std::optional<domain::Receipt> receipt = {};       // once its account is closed (receipts.h)
  policy::Payer gone_payer = policy::Payer::Caller;  // of what it had, should its caller go
  OpenCall* open = nullptr;  // null where nothing is called: the route infers nothing

  Reply error_reply(const ErrorAnswer& answer, int retry_after_s = 0) const;
  Reply error_reply(const Error& error, int retry_after_s = 0) const;
};

std::string new_request_id();

}  // namespace glowplug::gateway
