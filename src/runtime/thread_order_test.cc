// What a worker reads of an order about threads: its own reader is the other end.
#include "runtime/thread_order.h"

#include <array>
#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/unique_fd.h"

namespace glowplug::runtime {
namespace {

TEST(ThreadOrder, IsOneMessageWithADescriptor) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd server(ends[0]), worker(ends[1]);
  ASSERT_TRUE(order_threads(server.get(), 3));
  std::array<char, 64> text{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> extra{};
  iovec bytes{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = extra.data();
  message.msg_controllen = extra.size();
  const ssize_t got = ::recvmsg(worker.get(), &message, MSG_CMSG_CLOEXEC);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(got)), R"({"threads":3})");
  const cmsghdr* part = CMSG_FIRSTHDR(&message);
  ASSERT_NE(part, nullptr);
  EXPECT_EQ(part->cmsg_len, CMSG_LEN(sizeof(int)));
  const UniqueFd taken(*reinterpret_cast<const int*>(CMSG_DATA(part)));
  EXPECT_TRUE(taken.valid());
}

TEST(ThreadOrder, ChannelThatIsClosed_IsAnError) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const UniqueFd server(ends[0]);
  ::close(ends[1]);
  EXPECT_FALSE(order_threads(server.get(), 3));
}

}  // namespace
}  // namespace glowplug::runtime
