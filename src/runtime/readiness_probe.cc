#include "runtime/readiness_probe.h"

#include <optional>
#include <utility>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace glowplug::runtime {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;
using Code = boost::system::error_code;

constexpr std::size_t kHeadBytesMax = 16 * 1024;

asio::generic::stream_protocol::endpoint address_of(const control::Endpoint& endpoint) {
  if (!endpoint.socket_path.empty())
    return asio::local::stream_protocol::endpoint(endpoint.socket_path);
  return asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(),
                                 static_cast<unsigned short>(endpoint.port));
}

}  // namespace

class ReadinessProbe::State final : public std::enable_shared_from_this<State> {
 public:
  State(asio::io_context& loop, Options options, std::function<void()> ready)
      : loop_(loop), options_(std::move(options)), ready_(std::move(ready)), pause_(loop) {}

  void cancel() {
    ready_ = nullptr;
    pause_.cancel();
    close();
  }

  void attempt() {
    stream_.emplace(loop_);
    stream_->expires_after(options_.attempt_timeout);
    stream_->async_connect(address_of(options_.endpoint), [self = shared_from_this()](Code code) {
      if (code) return self->again();
      self->ask();
    });
  }

 private:
  void ask() {
    if (!ready_) return;
    request_ = {http::verb::get, options_.path, 11};
    request_.set(http::field::host, "localhost");
    request_.set(http::field::connection, "close");
    http::async_write(*stream_, request_, [self = shared_from_this()](Code code, std::size_t) {
      if (code) return self->again();
      self->read();
    });
  }

  // The status is all that counts; the body is not waited for.
  void read() {
    if (!ready_) return;
    buffer_.clear();
    parser_.emplace();
    parser_->header_limit(kHeadBytesMax);
    http::async_read_header(*stream_, buffer_, *parser_,
                            [self = shared_from_this()](Code code, std::size_t) {
                              if (code || self->parser_->get().result() != http::status::ok)
                                return self->again();
                              self->close();
                              if (self->ready_) std::exchange(self->ready_, nullptr)();
                            });
  }

  void again() {
    close();
    if (!ready_) return;
    pause_.expires_after(options_.interval);
    pause_.async_wait([self = shared_from_this()](Code code) {
      if (!code && self->ready_) self->attempt();
    });
  }

  void close() {
    if (stream_) stream_->close();
  }

  asio::io_context& loop_;
  Options options_;
  std::function<void()> ready_;  // empty once called or cancelled
  asio::steady_timer pause_;
  std::optional<Stream> stream_;
  http::request<http::empty_body> request_;
  beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::empty_body>> parser_;
};

ReadinessProbe::ReadinessProbe(asio::io_context& loop, Options options, std::function<void()> ready)
    : state_(std::make_shared<State>(loop, std::move(options), std::move(ready))) {
  state_->attempt();
}

ReadinessProbe::~ReadinessProbe() { state_->cancel(); }

}  // namespace glowplug::runtime
