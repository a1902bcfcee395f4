#include "worker/control_channel.h"

#include <optional>

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace glowplug::worker {
namespace {

class ControlChannelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    peer_.reset(ends[0]);
    channel_.emplace(UniqueFd(ends[1]));
  }
  std::string received() {
    char bytes[65536];
    const ssize_t count = ::recv(peer_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    return count > 0 ? std::string(bytes, static_cast<std::size_t>(count)) : std::string();
  }
  UniqueFd peer_;
  std::optional<ControlChannel> channel_;
};

TEST_F(ControlChannelTest, ProgressIsWrittenOncePerPercent) {
  for (int i = 0; i <= 10'000; ++i) channel_->loading(i / 10'000.0 * 0.02);
  channel_->loading(0.01);
  EXPECT_EQ(received(),
            "{\"state\":\"loading\",\"progress\":0.00}\n{\"state\":\"loading\",\"progress\":0.01}\n"
            "{\"state\":\"loading\",\"progress\":0.02}\n");
  channel_->loading(7);
  EXPECT_EQ(received(), "{\"state\":\"loading\",\"progress\":1.00}\n");
}

TEST_F(ControlChannelTest, ReadyCarriesEveryFact) {
  channel_->ready({.load_ms = 12,
                   .chat_template = true,
                   .tools = false,
                   .pooling = "mean",
                   .context = 512,
                   .sandbox = "seccomp",
                   .bytes_read = 4096});
  EXPECT_EQ(received(),
            "{\"state\":\"ready\",\"load_ms\":12,\"chat_template\":true,\"tools\":false,"
            "\"pooling\":\"mean\",\"context\":512,\"sandbox\":\"seccomp\",\"bytes_read\":4096}\n");
}

TEST_F(ControlChannelTest, CauseIsEscaped) {
  channel_->failed("a \"b\"\nc");
  EXPECT_EQ(received(), "{\"state\":\"failed\",\"cause\":\"a \\\"b\\\"\\nc\"}\n");
}

TEST_F(ControlChannelTest, AServerThatIsGoneIsNoError) {
  peer_.reset();
  channel_->failed("nobody reads this");
}

}  // namespace
}  // namespace glowplug::worker
