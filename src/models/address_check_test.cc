#include "models/address_check.h"

#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace glowplug::models {
namespace {

std::string kind_of(const std::string& text) {
  std::vector<std::uint8_t> bytes(text.find(':') == std::string::npos ? 4 : 16);
  EXPECT_EQ(::inet_pton(bytes.size() == 4 ? AF_INET : AF_INET6, text.c_str(), bytes.data()), 1)
      << text;
  return std::string(not_public_because(bytes));
}

struct Row {
  const char* address;
  const char* kind;  // empty = public
};

// Both edges of each range, and their neighbours outside.
constexpr Row kV4Rows[] = {
    {"0.0.0.0", "unspecified"},
    {"0.255.255.255", "unspecified"},
    {"1.0.0.0", ""},
    {"9.255.255.255", ""},
    {"10.0.0.0", "private"},
    {"10.255.255.255", "private"},
    {"11.0.0.0", ""},
    {"100.63.255.255", ""},
    {"100.64.0.0", "carrier-grade NAT"},
    {"100.127.255.255", "carrier-grade NAT"},
    {"100.128.0.0", ""},
    {"126.255.255.255", ""},
    {"127.0.0.0", "loopback"},
    {"127.0.0.1", "loopback"},
    {"127.255.255.255", "loopback"},
    {"128.0.0.0", ""},
    {"169.253.255.255", ""},
    {"169.254.0.0", "link-local"},
    {"169.254.169.254", "link-local"},
    {"169.254.255.255", "link-local"},
    {"169.255.0.0", ""},
    {"172.15.255.255", ""},
    {"172.16.0.0", "private"},
    {"172.31.255.255", "private"},
    {"172.32.0.0", ""},
    {"191.255.255.255", ""},
    {"192.0.0.0", "reserved"},
    {"192.0.0.255", "reserved"},
    {"192.0.1.0", ""},
    {"192.0.2.1", "documentation"},
    {"192.0.3.0", ""},
    {"192.88.99.1", "reserved"},
    {"192.88.100.0", ""},
    {"192.167.255.255", ""},
    {"192.168.0.0", "private"},
    {"192.168.255.255", "private"},
    {"192.169.0.0", ""},
    {"198.17.255.255", ""},
    {"198.18.0.0", "benchmarking"},
    {"198.19.255.255", "benchmarking"},
    {"198.20.0.0", ""},
    {"198.51.100.7", "documentation"},
    {"203.0.113.9", "documentation"},
    {"203.0.114.0", ""},
    {"223.255.255.255", ""},
    {"224.0.0.0", "multicast"},
    {"239.255.255.255", "multicast"},
    {"240.0.0.0", "reserved"},
    {"255.255.255.254", "reserved"},
    {"255.255.255.255", "reserved"},
    {"8.8.8.8", ""},
    {"93.184.216.34", ""},
};

constexpr Row kV6Rows[] = {
    {"::", "unspecified"},
    {"::1", "loopback"},
    {"::2", "reserved"},
    {"::127.0.0.1", "reserved"},  // IPv4-compatible, out of use
    {"::8.8.8.8", "reserved"},
    {"::ffff:127.0.0.1", "loopback"},
    {"::ffff:10.1.2.3", "private"},
    {"::ffff:169.254.169.254", "link-local"},
    {"::ffff:0.0.0.0", "unspecified"},
    {"::ffff:8.8.8.8", ""},
    {"::ffff:0:127.0.0.1", "reserved"},  // IPv4-translated (SIIT)
    {"::fffe:8.8.8.8", "reserved"},
    {"64:ff9b::10.1.2.3", "private"},
    {"64:ff9b::127.0.0.1", "loopback"},
    {"64:ff9b::8.8.8.8", ""},
    {"64:ff9b:0:0:0:1:808:808", "reserved"},
    {"64:ff9b:1::8.8.8.8", "reserved"},  // NAT64 for local use
    {"100::1", "reserved"},
    {"1fff:ffff::1", "reserved"},
    {"2000::1", ""},
    {"2001::1", "reserved"},  // Teredo
    {"2001:2::1", "reserved"},
    {"2001:1ff:ffff::1", "reserved"},
    {"2001:200::1", ""},
    {"2001:db7:ffff::1", ""},
    {"2001:db8::1", "documentation"},
    {"2001:db9::1", ""},
    {"2001:4860:4860::8888", ""},
    {"2002:7f00:1::1", "loopback"},
    {"2002:a01:203::1", "private"},
    {"2002:c0a8:101::", "private"},
    {"2002:a9fe:a9fe::1", "link-local"},
    {"2002:808:808::1", ""},
    {"2003::1", ""},
    {"2606:4700::1111", ""},
    {"3ffe:ffff::1", ""},
    {"3fff::1", "documentation"},
    {"3fff:fff:ffff::1", "documentation"},
    {"3fff:1000::1", ""},
    {"4000::1", "reserved"},
    {"5f00::1", "reserved"},
    {"fbff::1", "reserved"},
    {"fc00::1", "unique-local"},
    {"fdff:ffff::1", "unique-local"},
    {"fe00::1", "reserved"},
    {"fe80::1", "link-local"},
    {"febf:ffff::1", "link-local"},
    {"fec0::1", "site-local"},
    {"ff02::1", "multicast"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
};

TEST(AddressCheck, V4_EachRangeAndItsNeighbours) {
  for (const Row& row : kV4Rows) EXPECT_EQ(kind_of(row.address), row.kind) << row.address;
}

TEST(AddressCheck, V6_EachRangeAndItsNeighbours) {
  for (const Row& row : kV6Rows) EXPECT_EQ(kind_of(row.address), row.kind) << row.address;
}

// Whatever form an IPv4 address travels in, the answer is the same.
TEST(AddressCheck, V4InsideV6_IsWhatItIsAlone) {
  for (const Row& row : kV4Rows) {
    std::uint8_t v4[4];
    ASSERT_EQ(::inet_pton(AF_INET, row.address, v4), 1);
    const std::string plain = row.address;
    EXPECT_EQ(kind_of("::ffff:" + plain), row.kind) << plain;
    EXPECT_EQ(kind_of("64:ff9b::" + plain), row.kind) << plain;
    const std::uint8_t sixtofour[16] = {0x20, 0x02, v4[0], v4[1], v4[2], v4[3]};
    EXPECT_EQ(not_public_because(sixtofour), row.kind) << plain;
  }
}

TEST(AddressCheck, OtherLengths_AreUnknownAndSoNotPublic) {
  const std::uint8_t bytes[20] = {8, 8, 8, 8};
  for (const std::size_t length : {0u, 1u, 3u, 5u, 8u, 15u, 17u, 20u})
    EXPECT_EQ(not_public_because(std::span(bytes).first(length)), "unknown") << length;
}

}  // namespace
}  // namespace glowplug::models
