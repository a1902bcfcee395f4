// A store that fetches from public addresses only: what it refuses without asking, what is
// excepted.
#include <cstdlib>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/model_store.h"
#include "models/test_folder.h"
#include "models/test_gguf.h"
#include "models/test_http_server.h"

namespace glowplug::models {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr const char* kNowhere = "http://127.0.0.1:1";

class PrivateSourceTest : public ::testing::Test {
 protected:
  ModelStoreOptions options() const {
    return {.cache_dir = folder_.path(),
            .hub_url = kNowhere,
            .pip_index_url = kNowhere,
            .retry_wait = Duration(1)};
  }
  static std::string outcome(const ModelStoreOptions& options, const std::string& source) {
    const auto facts = ModelStore(options).prepare(source, "", {}, {});
    return facts.ok() ? "ok" : facts.error().code + ": " + facts.error().message;
  }

  const TestFolder folder_;
  const std::string good_ = answer("200 OK", "", TestGguf().bytes());
};

TEST_F(PrivateSourceTest, NameThatLeadsToThisMachine_IsRefusedUnasked) {
  TestHttpServer server([&](const TestRequest&) { return good_; });
  const std::string port = server.url().substr(server.url().rfind(':'));
  for (const std::string& url :
       {"http://localhost" + port, "http://127.0.0.1" + port, "https://models.localhost" + port})
    EXPECT_THAT(outcome(options(), url + "/a.gguf"),
                AllOf(StartsWith("forbidden: "), HasSubstr("loopback address "),
                      HasSubstr("--allow-private-sources")))
        << url;
  EXPECT_EQ(server.requests().size(), 0u);

  ModelStoreOptions allowed = options();
  allowed.private_sources_allowed = true;
  EXPECT_EQ(outcome(allowed, "http://localhost" + port + "/a.gguf"), "ok");
}

// However an address is spelled, it is the one connected to that counts.
TEST_F(PrivateSourceTest, Spellings_OfPrivateAddresses_AreRefused) {
  for (const char* host :
       {"10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0",
        "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "224.0.0.1", "255.255.255.255"})
    EXPECT_THAT(outcome(options(), std::string("https://") + host + "/a.gguf"),
                StartsWith("forbidden: "))
        << host;
  const UniqueFd v6(::socket(AF_INET6, SOCK_STREAM, 0));
  if (!v6.valid()) GTEST_SKIP() << "this machine has no IPv6";
  for (const char* host : {"[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::a01:203]",
                           "[2002:7f00:1::]", "[fd00::1]", "[fe80::1]", "[ff02::1]"})
    EXPECT_THAT(outcome(options(), std::string("https://") + host + "/a.gguf"),
                StartsWith("forbidden: "))
        << host;
}

TEST_F(PrivateSourceTest, RedirectToAPrivateAddress_IsRefusedAlsoFromTheHub) {
  TestHttpServer inside([&](const TestRequest&) { return good_; });
  TestHttpServer hub([&](const TestRequest&) {
    return answer("302 Found", "Location: " + inside.url("/secret") + "\r\n", "");
  });
  ModelStoreOptions guarded = options();
  guarded.hub_url = hub.url();
  EXPECT_THAT(outcome(guarded, "hf:org/repo:a.gguf"),
              AllOf(StartsWith("forbidden: "), HasSubstr(inside.url()),
                    HasSubstr("loopback address 127.0.0.1")));
  EXPECT_EQ(inside.requests().size(), 0u);
  EXPECT_EQ(hub.requests().size(), 2u);  // HEAD and GET; a refusal is not tried again

  guarded.private_sources_allowed = true;
  EXPECT_EQ(outcome(guarded, "hf:org/repo:a.gguf"), "ok");
}

TEST_F(PrivateSourceTest, OwnHubAndOwnIndex_MayBePrivate) {
  TestHttpServer mirror([&](const TestRequest&) { return good_; });
  ModelStoreOptions own_hub = options();
  own_hub.hub_url = mirror.url("/hub/");
  EXPECT_EQ(outcome(own_hub, "hf:org/repo:a.gguf"), "ok");
  ModelStoreOptions own_index = options();
  own_index.pip_index_url = mirror.url("/simple");
  EXPECT_EQ(outcome(own_index, mirror.url("/b.gguf")), "ok");
}

// A proxy resolves names by itself, so nothing could be checked behind it.
TEST_F(PrivateSourceTest, Proxy_IsUsedOnlyWhereEverythingIsAllowed) {
  TestHttpServer proxy([&](const TestRequest&) { return answer("403 No", "", ""); });
  ::setenv("https_proxy", proxy.url().c_str(), 1);
  EXPECT_THAT(outcome(options(), "https://models.localhost/a.gguf"), StartsWith("forbidden: "));
  EXPECT_EQ(proxy.requests().size(), 0u);
  ModelStoreOptions allowed = options();
  allowed.private_sources_allowed = true;
  EXPECT_THAT(outcome(allowed, "https://models.localhost/a.gguf"),
              StartsWith("source_unreachable: "));
  ::unsetenv("https_proxy");
  ASSERT_FALSE(proxy.requests().empty());
  EXPECT_TRUE(proxy.requests()[0].is("CONNECT models.localhost:443"));
}

}  // namespace
}  // namespace glowplug::models
