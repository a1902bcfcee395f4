#include "gateway/host_check.h"

#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

TEST(HostCheck, NamesOfThisMachineAndAddressesPass) {
  for (const char* host : {"", "localhost", "LOCALHOST:4569", "localhost.", "chat.localhost:80",
                           "127.0.0.1", "127.0.0.1:4569", "[::1]", "[::1]:4569", "192.168.1.7:80"})
    EXPECT_TRUE(is_local_host(host)) << host;
}

TEST(HostCheck, NamesOfOtherSitesDoNot) {
  for (const char* host :
       {"evil.example", "evil.example:4569", "localhost.evil.example", "evillocalhost",
        ".localhost", "127.0.0.1.evil.example", "[::1", "[evil]:80", ":4569", "1"})
    EXPECT_FALSE(is_local_host(host)) << host;
}

}  // namespace
}  // namespace glowplug::gateway
