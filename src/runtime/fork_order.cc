#include "runtime/fork_order.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "domain/errors.h"

namespace glowplug::runtime {
namespace {

constexpr std::size_t kDescriptorsMax = 6;  // three channels, a leaf's folder for each controller

}  // namespace

Result<SpawnedChild> order_fork(int template_control, const LaunchPlan& plan, const Leaf* leaf) {
  SpawnedChild child;
  ChildEnds ends;
  if (const Result<void> opened = open_channels(plan, child, ends); !opened) return opened.error();
  boost::json::object fields{
      {"fork", plan.endpoint.socket_path}, {"threads", plan.threads}, {"warm", plan.warm}};
  std::vector<int> descriptors{ends.control.get(), ends.lifeline.get(), ends.output.get()};
  if (leaf != nullptr && leaf->fd() >= 0) {
    fields["leaf"] = "directory";
    descriptors.push_back(leaf->fd());
  } else if (leaf != nullptr && !leaf->entries().empty()) {
    fields["leaf"] = "entries";
    for (const int entry : leaf->entries()) descriptors.push_back(entry);
  }
  GLOWPLUG_ASSERT(descriptors.size() <= kDescriptorsMax);
  std::string order = boost::json::serialize(fields);
  const std::size_t size = descriptors.size() * sizeof(int);
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))> extra{};
  iovec bytes{order.data(), order.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = CMSG_SPACE(size);
  cmsghdr* part = CMSG_FIRSTHDR(&message);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(part), descriptors.data(), size);
  const ssize_t sent = ::sendmsg(template_control, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(order.size())) return child;
  return Error{std::string(domain::error::kFunctionFailed),
               fmt::format("the template takes no order to fork: {}",
                           sent < 0 ? std::strerror(errno) : "it is cut short"),
               {}};
}

}  // namespace glowplug::runtime
