#include "worker/order.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <boost/json/parse.hpp>
#include <sys/socket.h>

namespace glowplug::worker {

namespace json = boost::json;

Receipt receive_order(int socket, Order& order) {
  std::array<char, kOrderBytesMax> text;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kOrderDescriptorsMax * sizeof(int))> extra;
  iovec bytes{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = extra.size();
  ssize_t got = 0;
  do got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got <= 0) return Receipt::Closed;

  order = {};
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      order.descriptors.emplace_back(fd);
    }
  }
  boost::system::error_code error;
  json::value fields =
      json::parse(json::string_view(text.data(), static_cast<std::size_t>(got)), error);
  if (error || !fields.is_object()) return Receipt::Unreadable;
  order.fields = std::move(fields.as_object());
  return Receipt::Taken;
}

}  // namespace glowplug::worker
