#include "runtime/order.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include <boost/json/serialize.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "domain/errors.h"

namespace glowplug::runtime {
namespace {

constexpr std::size_t kDescriptorsMax = 64;

}  // namespace

Result<void> send_order(int control, const boost::json::object& fields,
                        std::span<const int> descriptors) {
  GLOWPLUG_ASSERT(!descriptors.empty() && descriptors.size() <= kDescriptorsMax);
  std::string order = boost::json::serialize(fields);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> extra{};
  iovec bytes{order.data(), order.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  const ssize_t sent = ::sendmsg(control, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(order.size())) return {};
  return Error{
      std::string(domain::error::kFunctionFailed),
      fmt::format("an order is not taken: {}", sent < 0 ? std::strerror(errno) : "it is cut short"),
      {}};
}

}  // namespace glowplug::runtime
