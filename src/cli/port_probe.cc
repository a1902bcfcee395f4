#include <cerrno>
#include <cstring>
#include <memory>
#include <netdb.h>

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/unique_fd.h"
#include "cli/http_client.h"
#include "cli/machine_probe.h"

namespace glowplug::cli {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

}  // namespace

// Binds and lets go again, as the server would.
Check check_port(const Listener& listener) {
  const Result<ServerUrl> parsed = parse_server_url("http://" + listener.address);
  if (!parsed)
    return {listener.name, Level::Fail, listener.address + " is no HOST:PORT",
            "write 127.0.0.1:4569"};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(parsed->host.c_str(), parsed->port.c_str(), &hints, &found);
  if (failed != 0)
    return {listener.name, Level::Fail,
            fmt::format("{}: {}", listener.address, ::gai_strerror(failed)),
            "name an address of this machine"};
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  const UniqueFd fd(
      ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, found->ai_protocol));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0)
    return {listener.name, Level::Ok, listener.address + " is free", ""};
  return {listener.name, Level::Fail, fmt::format("{}: {}", listener.address, std::strerror(errno)),
          "end what listens there, or choose another port with --listen or --admin-listen"};
}

}  // namespace glowplug::cli
