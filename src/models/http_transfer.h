// One HTTP exchange at a time over libcurl, which only the .cc knows.
//
// Redirects are followed here, not by libcurl: at most five, each address checked (https, or http
// to this machine), and the bearer token goes to the host it was given for and to no other. Headers
// of every hop are kept, because a hub names the digest on the redirect and not on what it leads
// to.
//
// An AddressRule that allows no private addresses is applied to the address that a hop connects to,
// not to the name: a name is resolved once, and what is connected to is what was checked. Such a
// hop goes around the proxies of the environment, because a proxy resolves names by itself; any
// other hop uses them as libcurl does.
//
// Thread: each call stands alone; several may run at once. It blocks; `step` is polled at least
// every 200 ms.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace glowplug::models {

enum class HttpMethod { Get, Head };

// Which addresses may be connected to, by default those of the public internet alone.
struct AddressRule {
  bool private_allowed = false;
  std::vector<std::string>
      own_hosts;  // as host_of says; the operator named them, wherever they are
};

struct HttpRequest {
  HttpMethod method = HttpMethod::Get;
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::string bearer_token;          // sent to the host of `url` only
  AddressRule addresses;
};

// Forbidden: the address rule does not allow where a hop leads. Refused: any other rule of ours.
enum class HttpOutcome { Answered, Unreachable, Refused, Forbidden, SinkFailed, Stopped };

struct HttpReply {
  HttpOutcome outcome = HttpOutcome::Unreachable;
  int status = 0;                                    // of the last hop
  std::string reason;                                // why there is no complete answer
  std::map<std::string, std::string> headers;        // lower-case names; the last hop's win
  std::map<std::string, std::string> first_headers;  // of the first hop
};

struct HttpSink {
  // The final answer's head, before any body byte; false ends the exchange (SinkFailed).
  std::function<bool(const HttpReply&)> begin;
  std::function<bool(const char*, std::size_t)> write;  // false ends the exchange (SinkFailed)
  std::function<bool()> step;                           // false ends the exchange (Stopped)
};

HttpReply http_exchange(const HttpRequest& request, const HttpSink& sink);

std::string resolve_url(const std::string& base,
                        const std::string& reference);  // empty when it cannot be
std::string host_of(
    const std::string& url);  // scheme, host and port; empty for what is not an address
std::string without_secrets(const std::string& url);  // no user name, no query: for messages

}  // namespace glowplug::models
