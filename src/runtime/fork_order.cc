#include "runtime/fork_order.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "domain/errors.h"

namespace glowplug::runtime {

Result<SpawnedChild> order_fork(int template_control, const LaunchPlan& plan) {
  SpawnedChild child;
  ChildEnds ends;
  if (const Result<void> opened = open_channels(plan, child, ends); !opened) return opened.error();
  std::string order = boost::json::serialize(boost::json::object{
      {"fork", plan.endpoint.socket_path}, {"threads", plan.threads}, {"warm", plan.warm}});
  const std::array<int, 3> descriptors{ends.control.get(), ends.lifeline.get(), ends.output.get()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof descriptors)> extra{};
  iovec bytes{order.data(), order.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = extra.size();
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof descriptors);
  std::memcpy(CMSG_DATA(part), descriptors.data(), sizeof descriptors);
  const ssize_t sent = ::sendmsg(template_control, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(order.size())) return child;
  return Error{std::string(domain::error::kFunctionFailed),
               fmt::format("the template takes no order to fork: {}",
                           sent < 0 ? std::strerror(errno) : "it is cut short"),
               {}};
}

}  // namespace glowplug::runtime
