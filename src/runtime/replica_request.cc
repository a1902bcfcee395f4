#include "runtime/replica_request.h"

#include <utility>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>

#include "base/units.h"
#include "domain/errors.h"
#include "domain/limits.h"

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

class ReplicaRequest::State final : public std::enable_shared_from_this<State> {
 public:
  State(asio::io_context& loop, ReplicaAsk ask, Done done)
      : ask_(std::move(ask)), done_(std::move(done)), stream_(loop) {
    parser_.header_limit(kHeadBytesMax);
    parser_.body_limit(domain::kProbeReplyBytesMax);
  }

  void begin() {
    stream_.expires_after(ask_.timeout);
    stream_.async_connect(address_of(ask_.endpoint), [self = shared_from_this()](Code code) {
      return code ? self->fail(code) : self->write();
    });
  }

  void cancel() {
    done_ = nullptr;
    stream_.close();
  }

 private:
  void write() {
    if (!done_) return;
    request_ = {ask_.method == HttpMethod::Get ? http::verb::get : http::verb::post, ask_.target,
                11};
    request_.set(http::field::host, "localhost");
    request_.set(http::field::connection, "close");
    if (!ask_.body.empty()) request_.set(http::field::content_type, "application/json");
    request_.body() = std::move(ask_.body);
    request_.prepare_payload();
    http::async_write(stream_, request_, [self = shared_from_this()](Code code, std::size_t) {
      return code ? self->fail(code) : self->read();
    });
  }

  void read() {
    if (!done_) return;
    const auto took = [self = shared_from_this()](Code code, std::size_t) {
      if (code) return self->fail(code);
      const auto& reply = self->parser_.get();
      self->finish(ReplicaReply{static_cast<int>(reply.result_int()), reply.body()});
    };
    if (ask_.part == ReplyPart::Head)
      http::async_read_header(stream_, buffer_, parser_, took);
    else
      http::async_read(stream_, buffer_, parser_, took);
  }

  void fail(Code code) {
    const std::string why = code == beast::error::timeout
                                ? fmt::format("no answer within {}", format_duration(ask_.timeout))
                                : code.message();
    finish(Error{std::string(domain::error::kReplicaFailed), why, {}});
  }

  void finish(Result<ReplicaReply> outcome) {
    stream_.close();
    if (done_) std::exchange(done_, nullptr)(std::move(outcome));
  }

  ReplicaAsk ask_;
  Done done_;  // empty once called or cancelled
  Stream stream_;
  http::request<http::string_body> request_;
  beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
};

ReplicaRequest::ReplicaRequest(asio::io_context& loop, ReplicaAsk ask, Done done)
    : state_(std::make_shared<State>(loop, std::move(ask), std::move(done))) {
  state_->begin();
}

ReplicaRequest::~ReplicaRequest() { state_->cancel(); }

}  // namespace glowplug::runtime
