// A small blocking HTTP/1.1 client: one connection per request, plain TCP, whole or streamed
// answers.
//
// Every wait ends by a timeout or by the cancel descriptor becoming readable (Ctrl-C); the
// connection is then closed, by which the server learns that nobody waits any more. No TLS: the
// server listens on loopback or behind a proxy on the same machine.
//
// Thread: const and without shared state; any number of sends may run at once.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/time_types.h"
#include "base/unique_fd.h"
#include "cli/http_reply.h"

namespace glowplug::cli {

using namespace std::chrono_literals;

struct HttpRequest {
  std::string method = "GET";
  std::string target;  // begins with '/'
  std::string body;
  std::string content_type = "application/json";
  // What follows `body`, for what is too large to be held: pieces of `more_bytes` together. A piece
  // that is empty, or an error, breaks the request off.
  std::uint64_t more_bytes = 0;
  std::function<Result<std::string>()> more = {};
  Duration idle_timeout = 30s;  // longest silence of the server
};

struct ServerUrl {
  std::string host;
  std::string port = "80";
  std::string prefix;  // path before every target, without a '/' at its end
};

Result<ServerUrl> parse_server_url(std::string_view url);
std::string percent_encode(std::string_view segment);

class HttpClient final {
 public:
  struct Options {
    std::string url;
    std::string api_key;  // sent as Bearer when not empty
    int cancel_fd = -1;   // borrowed; readable = break off
    Duration connect_timeout = 5s;
  };
  static Result<HttpClient> create(Options options);

  // A reply of any status is a value; an error is that none came, or not to its end. A sink that
  // has enough ends it earlier.
  Result<HttpReply> send(const HttpRequest& request, const BodySink& sink = {}) const;

  const std::string& url() const { return options_.url; }
  const ServerUrl& address() const { return address_; }
  bool has_key() const { return !options_.api_key.empty(); }

 private:
  HttpClient(Options options, ServerUrl address);

  Result<UniqueFd> connect() const;
  Result<bool> write_all(int fd, std::string_view bytes) const;  // false: no more is taken
  Result<void> write_request(int fd, const HttpRequest& request) const;
  std::string head_of(const HttpRequest& request) const;
  Error unreachable(std::string_view why) const;

  Options options_;
  ServerUrl address_;
};

}  // namespace glowplug::cli
