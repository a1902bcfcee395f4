#include "gateway/host_check.h"

#include <string>

#include <boost/asio/ip/address.hpp>
#include <boost/beast/core/string.hpp>

namespace glowplug::gateway {

bool is_local_host(std::string_view host) {
  if (host.empty()) return true;
  const bool bracketed = host.front() == '[';
  const auto end = bracketed ? host.find(']') : host.find(':');
  if (bracketed && end == std::string_view::npos) return false;
  std::string_view name = host.substr(bracketed ? 1 : 0, bracketed ? end - 1 : end);
  if (name.ends_with('.')) name.remove_suffix(1);
  if (boost::beast::iequals(name, "localhost")) return true;
  constexpr std::string_view kBelow = ".localhost";
  if (name.size() > kBelow.size() &&
      boost::beast::iequals(name.substr(name.size() - kBelow.size()), kBelow))
    return true;
  boost::system::error_code no_address;
  boost::asio::ip::make_address(std::string(name), no_address);
  return !no_address;
}

}  // namespace glowplug::gateway
