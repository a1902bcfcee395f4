#include "models/target_rule.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace glowplug::models {
namespace {

TargetRule rule(const std::vector<std::string>& allow = {}, bool http = false) {
  Result<TargetRule> read = TargetRule::read(allow, http);
  EXPECT_TRUE(read.ok()) << read.error().message;
  return read ? *read : TargetRule();
}

std::string fault(const TargetRule& rule, std::string_view url) {
  const Result<Target> target = rule.check(url);
  return target ? "" : target.error().message;
}

// Whether an address may be connected to for this URL.
bool may(const TargetRule& rule, std::string_view url, const std::string& address) {
  std::uint8_t bytes[16] = {};
  const bool v6 = address.find(':') != std::string::npos;
  EXPECT_EQ(::inet_pton(v6 ? AF_INET6 : AF_INET, address.c_str(), bytes), 1) << address;
  const Result<Target> target = rule.check(url);
  EXPECT_TRUE(target.ok()) << url;
  return target && rule.refuses(*target, {bytes, v6 ? 16U : 4U}).empty();
}

TEST(TargetRule, PublicHttps_MayBe_AndNothingElse) {
  const TargetRule strict = rule();
  for (const char* url : {"https://example.com/hook?x=1", "https://example.com:8443/",
                          "https://8.8.8.8/", "https://[2606:4700::1111]/x"})
    EXPECT_EQ(fault(strict, url), "") << url;
  for (const char* url :
       {"", "example.com", "http://example.com/", "ftp://example.com/", "file:///etc/passwd",
        "https://", "https://u:p@example.com/", "https://u@example.com/", "https://exa mple.com/",
        "https://example.com/\n", "https:\\\\example.com", "gopher://x/", "//example.com",
        "https:///x", "https://example.com:0/", "https://example..com/",
        "https://m\xc3\xbcnchen.de/"})
    EXPECT_NE(fault(strict, url), "") << url;
  EXPECT_NE(fault(strict, "https://example.com/" + std::string(2048, 'x')), "");
}

TEST(TargetRule, AddressesInsideANetwork_AreRefusedAsTheyAreWritten) {
  for (const char* host :
       {"127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1",
        "0.0.0.0", "[::1]", "[::ffff:10.0.0.1]", "[::ffff:127.0.0.1]", "[64:ff9b::a00:1]",
        "[2002:a00:1::]", "[fd00:ec2::254]", "[fe80::1]", "[::]",
        // other ways to write 127.0.0.1 and 10.0.0.1
        "127.1", "2130706433", "0x7f000001", "017700000001", "0xa.1"}) {
    const std::string url = "https://" + std::string(host) + "/hook";
    EXPECT_NE(fault(rule(), url), "") << url;
  }
}

TEST(TargetRule, NameIsJudgedByTheAddressThatItLeadsTo) {
  const TargetRule strict = rule();
  EXPECT_TRUE(may(strict, "https://hook.example/", "8.8.8.8"));
  for (const char* address : {"127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "::1", "10.1.2.3"})
    EXPECT_FALSE(may(strict, "https://hook.example/", address)) << address;
}

TEST(TargetRule, AllowedRangesAndHosts_MayBe) {
  const TargetRule some = rule({"10.1.0.0/16", "192.168.5.7", "Hooks.Internal", "fd12::/32"});
  EXPECT_EQ(fault(some, "https://10.1.2.3/"), "");
  EXPECT_NE(fault(some, "https://10.2.0.1/"), "");
  EXPECT_EQ(fault(some, "https://192.168.5.7/"), "");
  EXPECT_NE(fault(some, "https://192.168.5.8/"), "");
  EXPECT_EQ(fault(some, "https://[::ffff:10.1.2.3]/"), "");  // the same address
  EXPECT_TRUE(may(some, "https://x.example/", "10.1.255.255"));
  EXPECT_FALSE(may(some, "https://x.example/", "10.0.255.255"));
  EXPECT_TRUE(may(some, "https://x.example/", "fd12:0:1::1"));
  EXPECT_FALSE(may(some, "https://x.example/", "fd13::1"));
  EXPECT_TRUE(may(some, "https://HOOKS.internal./", "127.0.0.1"));
  EXPECT_FALSE(may(some, "https://evil.hooks.internal/", "127.0.0.1"));
}

TEST(TargetRule, RangesOfOddLengths) {
  const TargetRule odd = rule({"10.0.0.0/9", "10.192.0.0/31"});
  EXPECT_TRUE(may(odd, "https://x.example/", "10.127.255.255"));
  EXPECT_FALSE(may(odd, "https://x.example/", "10.128.0.0"));
  EXPECT_TRUE(may(odd, "https://x.example/", "10.192.0.1"));
  EXPECT_FALSE(may(odd, "https://x.example/", "10.192.0.2"));
  EXPECT_TRUE(may(rule({"0.0.0.0/0"}), "https://x.example/", "127.0.0.1"));
  EXPECT_FALSE(may(rule({"0.0.0.0/0"}), "https://x.example/", "::1"));
}

TEST(TargetRule, Http_IsForWhatIsNamed) {
  const TargetRule loopback = rule({"127.0.0.0/8"}, true);
  EXPECT_EQ(fault(loopback, "http://127.0.0.1:9/x"), "");
  EXPECT_NE(fault(rule({"127.0.0.0/8"}), "http://127.0.0.1:9/x"), "");
  EXPECT_NE(fault(loopback, "http://8.8.8.8/"), "");
  EXPECT_FALSE(may(loopback, "http://x.example/", "8.8.8.8"));
  EXPECT_TRUE(may(loopback, "http://x.example/", "127.0.0.1"));
  EXPECT_TRUE(may(loopback, "https://x.example/", "8.8.8.8"));
}

TEST(TargetRule, WhatIsNoHostAndNoRange_IsRefused) {
  for (const char* text : {"", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "*.example.com",
                           "https://example.com", "a b", ".internal", "host:443"})
    EXPECT_FALSE(TargetRule::read({text}, false).ok()) << text;
}

TEST(TargetRule, Authority_IsOfOneHostAndPort) {
  const auto authority = [](const char* url) { return rule().check(url)->authority; };
  EXPECT_EQ(authority("https://Example.com/a"), authority("https://example.com:443/b?c"));
  EXPECT_NE(authority("https://example.com/"), authority("https://example.com:444/"));
}

}  // namespace
}  // namespace glowplug::models
