#include "models/curl_handles.h"

#include <mutex>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace glowplug::models {
namespace {

std::span<const std::uint8_t> bytes_of(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    return {reinterpret_cast<const std::uint8_t*>(&v4), sizeof v4};
  }
  if (address->sa_family == AF_INET6)
    return reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr.s6_addr;
  return {};
}

curl_socket_t open_socket(void* context, curlsocktype, curl_sockaddr* address) {
  auto& guard = *static_cast<SocketGuard*>(context);
  const auto bytes = bytes_of(&address->addr);
  const std::string kind = guard.refuses ? guard.refuses(bytes) : std::string();
  if (!kind.empty()) {
    char text[INET6_ADDRSTRLEN] = "(unknown)";
    ::inet_ntop(address->family, bytes.data(), text, sizeof text);
    guard.forbidden = fmt::format("{} address {}", kind, text);
    return CURL_SOCKET_BAD;
  }
  guard.may_connect = true;
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

}  // namespace

void start_curl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

std::string url_part(const CurlUrl& url, CURLUPart part, unsigned int flags) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

void append_line(CurlList& list, const std::string& line) {
  curl_slist* longer = curl_slist_append(list.get(), line.c_str());
  (void)list.release();
  list.reset(longer);
}

void guard_sockets(CURL* handle, SocketGuard& guard) {
  curl_easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(handle, CURLOPT_OPENSOCKETDATA, &guard);
}

}  // namespace glowplug::models
