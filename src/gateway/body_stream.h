// The body of a request on its way in, piece by piece, for routes whose bodies are too large to be
// held (uploads of files).
//
// Nothing is read before the route asks: a request that is refused by its head costs no more. A
// sender must keep up kUploadBytesPerTimeoutMin within each kBodyTimeout that is spent waiting for
// it, so that a slow one does not hold its place for ever.
//
// Thread: the server loop.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/result.h"
#include "gateway/exchange.h"

namespace glowplug::gateway {

class BodyStream final {
 public:
  using Head = boost::beast::http::request_parser<boost::beast::http::string_body>;
  // `head` has read the head of the request and nothing of its body.
  BodyStream(Client& client, Head&& head, std::uint64_t bytes_max);

  // The next bytes, which are good until the next call; none at the end. Errors:
  // request_too_large, request_timeout, bad_request; and client_gone(), then nobody is there to be
  // answered.
  Coroutine<Result<std::string_view>> next();
  bool done() const { return parser_.is_done(); }
  bool client_gone() const { return client_gone_; }

 private:
  Coroutine<bool> greet();  // 100 Continue, where it is expected

  Client& client_;
  boost::beast::http::request_parser<boost::beast::http::buffer_body> parser_;
  std::uint64_t bytes_max_;
  std::array<char, 64 * 1024> piece_;
  bool greeted_ = false;
  bool client_gone_ = false;
  Duration waited_{};  // for the bytes of this stretch
  std::size_t stretch_bytes_ = 0;
};

}  // namespace glowplug::gateway
