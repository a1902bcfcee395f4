#include "cli/http_client.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <netdb.h>

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "cli/exit_code.h"
#include "cli/wait.h"

namespace glowplug::cli {
namespace {

Error bad_url(std::string_view url, std::string_view why) {
  return {std::string(kUsage),
          fmt::format("the server address '{}' {}; write http://HOST:PORT", url, why), "url"};
}

Error interrupted() { return {std::string(kInterrupted), "interrupted", ""}; }

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

}  // namespace

Result<ServerUrl> parse_server_url(std::string_view url) {
  std::string_view rest = url;
  if (rest.starts_with("https://"))
    return bad_url(
        url, "asks for https, which this client does not speak (end TLS in a proxy beside it)");
  if (!rest.starts_with("http://")) return bad_url(url, "does not begin with http://");
  rest.remove_prefix(7);
  for (const char c : rest)
    if (static_cast<unsigned char>(c) <= ' ' || c == '@')
      return bad_url(url, "has a character that cannot be in it");

  ServerUrl out;
  const auto slash = rest.find('/');
  if (slash != std::string_view::npos) {
    out.prefix = rest.substr(slash);
    while (!out.prefix.empty() && out.prefix.back() == '/') out.prefix.pop_back();
    rest = rest.substr(0, slash);
  }
  if (rest.starts_with('[')) {
    const auto close = rest.find(']');
    if (close == std::string_view::npos) return bad_url(url, "lacks the ] of its IPv6 address");
    out.host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
  } else {
    out.host = rest.substr(0, rest.find(':'));
    rest.remove_prefix(out.host.size());
  }
  if (out.host.empty()) return bad_url(url, "names no host");
  if (rest.empty()) return out;
  int port = 0;
  const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), port);
  if (rest.front() != ':' || error != std::errc() || end != rest.data() + rest.size() || port < 1 ||
      port > 65535)
    return bad_url(url, "has a port that is not 1 to 65535");
  out.port = std::to_string(port);
  return out;
}

std::string percent_encode(std::string_view segment) {
  std::string out;
  for (const char c : segment) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Result<HttpClient> HttpClient::create(Options options) {
  Result<ServerUrl> address = parse_server_url(options.url);
  if (!address) return address.error();
  while (options.url.ends_with('/')) options.url.pop_back();
  if (options.api_key.find_first_of("\r\n") != std::string::npos)
    return Error{std::string(kUsage),
                 "GLOWPLUG_API_KEY has a line break in it; set it again without", "api_key"};
  return HttpClient(std::move(options), *std::move(address));
}

HttpClient::HttpClient(Options options, ServerUrl address)
    : options_(std::move(options)), address_(std::move(address)) {}

Error HttpClient::unreachable(std::string_view why) const {
  return {std::string(kServerUnreachable),
          fmt::format("no server answers at {} ({}); start one with: glowplug serve", options_.url,
                      why),
          ""};
}

Result<UniqueFd> HttpClient::connect() const {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(address_.host.c_str(), address_.port.c_str(), &hints, &found);
  if (failed != 0) return unreachable(::gai_strerror(failed));
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);

  std::string why = "no address";
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    UniqueFd fd(
        ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol));
    if (!fd.valid()) {
      why = std::strerror(errno);
      continue;
    }
    int error = ::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      const Waited waited = wait_for({.fd = fd.get(),
                                      .direction = Direction::Write,
                                      .cancel_fd = options_.cancel_fd,
                                      .timeout = options_.connect_timeout});
      if (waited == Waited::Interrupted) return interrupted();
      socklen_t size = sizeof error;
      if (waited == Waited::TimedOut)
        error = ETIMEDOUT;
      else if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0)
        error = errno;
    }
    if (error == 0) {
      const int on = 1;
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return fd;
    }
    why = std::strerror(error);
  }
  return unreachable(why);
}

// A server that refuses a request early closes before it has read all; its answer is then still
// there to read.
Result<bool> HttpClient::write_all(int fd, std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    const Waited waited = wait_for(
        {.fd = fd, .direction = Direction::Write, .cancel_fd = options_.cancel_fd, .timeout = 30s});
    if (waited == Waited::Interrupted) return interrupted();
    if (waited == Waited::TimedOut)
      return Error{std::string(kTimedOut),
                   fmt::format("{} does not take the request within 30 s", options_.url), ""};
  }
  return true;
}

Result<void> HttpClient::write_request(int fd, const HttpRequest& request) const {
  Result<bool> taken = write_all(fd, head_of(request) + request.body);
  std::uint64_t left = request.more_bytes;
  while (taken && *taken && left > 0) {
    const Result<std::string> piece = request.more();
    if (!piece) return piece.error();
    if (piece->empty() || piece->size() > left)
      return Error{std::string(kClientFailed), "what is sent has changed its size meanwhile", ""};
    left -= piece->size();
    taken = write_all(fd, *piece);
  }
  return taken ? Result<void>() : Result<void>(taken.error());
}

std::string HttpClient::head_of(const HttpRequest& request) const {
  const bool six = address_.host.find(':') != std::string::npos;
  std::string head = fmt::format(
      "{} {}{} HTTP/1.1\r\nhost: {}{}{}:{}\r\nuser-agent: glowplug-cli\r\n"
      "accept: application/json, text/event-stream\r\nconnection: close\r\n",
      request.method, address_.prefix, request.target, six ? "[" : "", address_.host,
      six ? "]" : "", address_.port);
  if (!options_.api_key.empty())
    head += fmt::format("authorization: Bearer {}\r\n", options_.api_key);
  if (!request.body.empty()) head += fmt::format("content-type: {}\r\n", request.content_type);
  if (!request.body.empty() || request.method != "GET")
    head += fmt::format("content-length: {}\r\n", request.body.size() + request.more_bytes);
  return head + "\r\n";
}

Result<HttpReply> HttpClient::send(const HttpRequest& request, const BodySink& sink) const {
  Result<UniqueFd> connected = connect();
  if (!connected) return connected.error();
  const int fd = connected->get();
  if (Result<void> written = write_request(fd, request); !written) return written.error();

  ReplyReader reader(sink);
  std::array<char, 16 * 1024> buffer;
  while (!reader.done()) {
    const Waited waited =
        wait_for({.fd = fd, .cancel_fd = options_.cancel_fd, .timeout = request.idle_timeout});
    if (waited == Waited::Interrupted) return interrupted();
    if (waited == Waited::TimedOut)
      return Error{std::string(kTimedOut),
                   fmt::format("{} was silent for {} s on {} {}", options_.url,
                               to_seconds(request.idle_timeout), request.method, request.target),
                   ""};
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    Result<void> taken =
        got > 0 ? reader.feed({buffer.data(), static_cast<std::size_t>(got)}) : reader.finish();
    if (!taken) return taken.error();
  }
  return std::move(reader.reply());
}

}  // namespace glowplug::cli
