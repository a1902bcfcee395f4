#include "gateway/body_stream.h"

#include <chrono>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/read.hpp>
#include <fmt/format.h>

#include "domain/errors.h"
#include "domain/limits.h"

namespace glowplug::gateway {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace error = domain::error;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

Error too_slow() {
  return {std::string(error::kRequestTimeout),
          fmt::format(
              "The upload came slower than {} bytes in {} s.", domain::kUploadBytesPerTimeoutMin,
              std::chrono::duration_cast<std::chrono::seconds>(domain::kBodyTimeout).count()),
          ""};
}

Error too_large(std::uint64_t bytes_max) {
  return {std::string(error::kRequestTooLarge),
          fmt::format("The body is over the limit of {} bytes.", bytes_max), ""};
}

bool left(const boost::system::error_code& ec) {
  return ec == http::error::end_of_stream || ec == http::error::partial_message ||
         ec == asio::error::eof || ec == asio::error::connection_reset ||
         ec == asio::error::broken_pipe || ec == asio::error::operation_aborted;
}

}  // namespace

BodyStream::BodyStream(Client& client, Head&& head, std::uint64_t bytes_max)
    : client_(client), parser_(std::move(head)), bytes_max_(bytes_max) {
  parser_.body_limit(bytes_max);
}

Coroutine<bool> BodyStream::greet() {
  greeted_ = true;
  if (!boost::beast::iequals(parser_.get()[http::field::expect], "100-continue")) co_return true;
  co_return co_await client_.write("HTTP/1.1 100 Continue\r\n\r\n");
}

Coroutine<Result<std::string_view>> BodyStream::next() {
  const auto announced = parser_.content_length();
  if (announced && *announced > bytes_max_) co_return too_large(bytes_max_);
  if (!greeted_) {
    const bool heard = co_await greet();
    client_gone_ = !heard;
    if (!heard) co_return Error{std::string(error::kBadRequest), "The client has gone.", ""};
  }
  auto& body = parser_.get().body();
  while (!parser_.is_done()) {
    body.data = piece_.data();
    body.size = piece_.size();
    const auto began = std::chrono::steady_clock::now();
    client_.arm(std::max(domain::kBodyTimeout - waited_, Duration(std::chrono::milliseconds(1))));
    auto [ec, count] =
        co_await http::async_read_some(client_.socket, client_.buffer, parser_, kAwait);
    client_.disarm();
    waited_ += std::chrono::steady_clock::now() - began;
    if (ec && ec != http::error::need_buffer) {
      if (client_.timed_out()) co_return too_slow();
      if (ec == http::error::body_limit) co_return too_large(bytes_max_);
      client_gone_ = left(ec);
      co_return Error{std::string(error::kBadRequest),
                      "The HTTP message is malformed: " + ec.message() + ".", ""};
    }
    const std::size_t size = piece_.size() - body.size;
    if (size == 0) continue;
    stretch_bytes_ += size;
    if (stretch_bytes_ >= domain::kUploadBytesPerTimeoutMin) {
      waited_ = Duration(0);
      stretch_bytes_ = 0;
    }
    co_return std::string_view(piece_.data(), size);
  }
  co_return std::string_view();
}

}  // namespace glowplug::gateway
