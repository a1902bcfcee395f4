#include "gateway/relay.h"

#include <unistd.h>
#include <vector>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

using Local = boost::asio::local::stream_protocol;
using Socket = ReplicaPool::Socket;

class ReplicaPoolTest : public ::testing::Test {
 protected:
  // A connection whose other end is `replica_`.
  std::unique_ptr<Socket> connect() {
    Local::socket ours(io_);
    boost::asio::local::connect_pair(ours, replica_);
    return std::make_unique<Socket>(std::move(ours));
  }
  std::size_t idle_after_events() {
    io_.restart();
    io_.poll();
    return pool_.idle();
  }

  boost::asio::io_context io_;
  Local::socket replica_{io_};
  ReplicaPool pool_{io_};
};

TEST_F(ReplicaPoolTest, TheSameConnectionComesBackAgainAndAgain) {
  std::unique_ptr<Socket> socket = connect();
  const Socket* const same = socket.get();
  for (int i = 0; i < 3; ++i) {
    pool_.give_back("a", std::move(socket));
    EXPECT_EQ(idle_after_events(), 1u);
    EXPECT_EQ(pool_.take("b"), nullptr);
    socket = pool_.take("a");
    ASSERT_EQ(socket.get(), same);
    EXPECT_EQ(idle_after_events(), 0u);
  }
}

TEST_F(ReplicaPoolTest, ReplicaClosesIt_GoneWithoutACall) {
  pool_.give_back("a", connect());
  EXPECT_EQ(idle_after_events(), 1u);
  replica_.close();
  EXPECT_EQ(idle_after_events(), 0u);
}

TEST_F(ReplicaPoolTest, ClosedBeforeItIsGivenBack_GoneToo) {
  std::unique_ptr<Socket> socket = connect();
  replica_.close();
  pool_.give_back("a", std::move(socket));
  EXPECT_EQ(idle_after_events(), 0u);
}

TEST_F(ReplicaPoolTest, ClosedSinceTheLastEvent_NotHandedOut) {
  pool_.give_back("a", connect());
  EXPECT_EQ(idle_after_events(), 1u);
  replica_.close();
  EXPECT_EQ(pool_.take("a"), nullptr);
}

TEST_F(ReplicaPoolTest, BytesThatNobodyAskedFor_Gone) {
  pool_.give_back("a", connect());
  ASSERT_EQ(::write(replica_.native_handle(), "x", 1), 1);
  EXPECT_EQ(idle_after_events(), 0u);
}

TEST_F(ReplicaPoolTest, KeepsSixteenOfAnEndpoint) {
  std::vector<Local::socket> replicas;
  for (int i = 0; i < 20; ++i) {
    pool_.give_back("a", connect());
    replicas.push_back(std::move(replica_));
  }
  EXPECT_EQ(idle_after_events(), 16u);
}

}  // namespace
}  // namespace glowplug::gateway
