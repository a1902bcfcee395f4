#include "gateway/gateway.h"

#include <charconv>
#include <vector>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "domain/errors.h"
#include "domain/limits.h"
#include "gateway/exchange.h"
#include "gateway/job_runner.h"

namespace glowplug::gateway {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// Accepts until the acceptor is closed. Out of descriptors, it waits a moment instead of spinning.
Coroutine<> accept_loop(std::shared_ptr<Server> server, std::shared_ptr<tcp::acceptor> acceptor,
                        Side side) {
  asio::steady_timer pause(server->io);
  while (acceptor->is_open()) {
    auto [ec, socket] = co_await acceptor->async_accept(asio::as_tuple(asio::use_awaitable));
    if (ec == asio::error::operation_aborted || !acceptor->is_open()) co_return;
    if (ec) {
      pause.expires_after(std::chrono::milliseconds(50));
      co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
      continue;
    }
    if (server->clients.size() >= domain::kConnectionsMax) {
      server->metrics.count_connection_refused();
      continue;  // the socket closes here
    }
    asio::co_spawn(server->io, serve_connection(server, std::move(socket), side), asio::detached);
  }
}

Error bad_listen(std::string_view text) {
  return Error{
      std::string(domain::error::kInvalidValue),
      "\"" + std::string(text) + "\" is no address to listen on; write it like 127.0.0.1:4569.",
      "listen"};
}

}  // namespace

Result<ListenAddress> parse_listen(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad_listen(text);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  ListenAddress address;
  const auto [end, ec] =
      std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (digits.empty() || ec != std::errc() || end != digits.data() + digits.size())
    return bad_listen(text);
  if (address.port < 0 || address.port > 65535) return bad_listen(text);
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  else if (host.find(':') != std::string_view::npos)
    return bad_listen(text);
  if (host.empty() || host == "localhost") host = "127.0.0.1";
  boost::system::error_code parsed;
  asio::ip::make_address(std::string(host), parsed);
  if (parsed) return bad_listen(text);
  address.host = std::string(host);
  return address;
}

struct Gateway::Listener {
  std::shared_ptr<tcp::acceptor> acceptor;  // owners: this object and the accept loop's coroutine
  int port = 0;
};

Gateway::Gateway(asio::io_context& io, GatewayOptions options, control::Platform& platform,
                 const Clock& clock) {
  const std::int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(clock.wall_now().time_since_epoch()).count();
  server_.reset(new Server{
      io, std::move(options), platform, clock, Metrics(clock), ReplicaPool(io), {}, 0, now});
  server_->self = server_;
  job_runner_ = std::make_unique<CallJobRunner>(server_);
}

Gateway::~Gateway() {
  stop_accepting();
  job_runner_.reset();
  server_->closed = true;
  boost::system::error_code ignored;
  for (Client* client : server_->clients) client->socket.close(ignored);
  server_->pool.clear();
}

Result<void> Gateway::listen(const ListenAddress& address, std::unique_ptr<Listener>& listener) {
  const std::string shown = address.host + ":" + std::to_string(address.port);
  boost::system::error_code ec;
  const asio::ip::address ip =
      asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, ec);
  if (ec) return bad_listen(shown);
  if (!ip.is_loopback()) {
    return Error{std::string(domain::error::kForbidden),
                 shown + ": refuses a public address while no key exists; listen on 127.0.0.1",
                 "listen"};
  }
  auto acceptor = std::make_shared<tcp::acceptor>(server_->io);
  const tcp::endpoint endpoint(ip, static_cast<unsigned short>(address.port));
  acceptor->open(endpoint.protocol(), ec);
  if (!ec) acceptor->set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor->bind(endpoint, ec);
  if (!ec) acceptor->listen(asio::socket_base::max_listen_connections, ec);
  if (ec) {
    return Error{
        std::string(domain::error::kServerError),
        "Cannot listen on " + shown + ": " + ec.message() +
            ". Stop the program that holds it, or choose another port with --listen HOST:PORT.",
        "listen"};
  }
  listener = std::make_unique<Listener>();
  listener->acceptor = std::move(acceptor);
  listener->port = listener->acceptor->local_endpoint(ec).port();
  return {};
}

Result<void> Gateway::open() {
  if (Result<void> opened = listen(server_->options.listen, main_); !opened) return opened;
  if (Result<void> opened = listen(server_->options.admin_listen, admin_); !opened) return opened;
  asio::co_spawn(server_->io, accept_loop(server_, main_->acceptor, Side::Main), asio::detached);
  asio::co_spawn(server_->io, accept_loop(server_, admin_->acceptor, Side::Admin), asio::detached);
  return {};
}

void Gateway::set_jobs(queue::JobService& jobs) { server_->options.jobs = &jobs; }
void Gateway::set_webhooks(queue::WebhookAdmin& webhooks) { server_->options.webhooks = &webhooks; }
void Gateway::set_batches(queue::FileStore& files, queue::BatchService& batches) {
  server_->options.files = &files;
  server_->options.batches = &batches;
}
int Gateway::port() const { return main_ ? main_->port : 0; }
int Gateway::admin_port() const { return admin_ ? admin_->port : 0; }
std::size_t Gateway::in_flight() const { return server_->in_flight; }
const CallCounts& Gateway::calls() const { return server_->metrics.calls(); }
queue::JobRunner& Gateway::job_runner() { return *job_runner_; }

void Gateway::stop_accepting() {
  server_->draining = true;
  boost::system::error_code ignored;
  if (main_) main_->acceptor->close(ignored);
  if (admin_) admin_->acceptor->close(ignored);
  for (Client* client : server_->clients) {
    if (client->idle) client->socket.cancel(ignored);
    if (client->on_drain) client->on_drain();
  }
}

}  // namespace glowplug::gateway
