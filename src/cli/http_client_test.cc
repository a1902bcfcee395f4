#include "cli/http_client.h"

#include <unistd.h>

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "cli/exit_code.h"
#include "cli/test_server.h"

namespace glowplug::cli {
namespace {

HttpClient client_for(const TestServer& server, int cancel_fd = -1) {
  return *HttpClient::create({.url = server.url(), .api_key = "sk-1", .cancel_fd = cancel_fd});
}

TEST(ServerUrl, Forms_AreReadOrRefusedWithTheReason) {
  EXPECT_EQ(parse_server_url("http://localhost")->port, "80");
  EXPECT_EQ(parse_server_url("http://[::1]:4569/a/")->host, "::1");
  EXPECT_EQ(parse_server_url("http://[::1]:4569/a/")->prefix, "/a");
  for (const char* url : {"", "localhost:1", "http://", "http://h:0", "http://h:70000",
                          "http://h:1x", "http://[::1", "http://a b", "http://u@h"}) {
    ASSERT_FALSE(parse_server_url(url).ok()) << url;
    EXPECT_EQ(parse_server_url(url).error().code, kUsage);
  }
  EXPECT_NE(parse_server_url("https://h").error().message.find("https"), std::string::npos);
}

TEST(HttpClient, Request_CarriesKeyBodyAndLength) {
  TestServer server({json_answer(200, "{\"a\":1}")});
  const auto reply = client_for(server).send({.method = "POST", .target = "/x", .body = "{}"});
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->body, "{\"a\":1}");
  const std::string request = server.requests().at(0);
  EXPECT_TRUE(request.starts_with("POST /x HTTP/1.1\r\n"));
  EXPECT_NE(request.find("\r\nauthorization: Bearer sk-1\r\n"), std::string::npos);
  EXPECT_NE(request.find("\r\ncontent-length: 2\r\n"), std::string::npos);
  EXPECT_TRUE(request.ends_with("\r\n\r\n{}"));
}

TEST(HttpClient, NobodyListens_SaysHowToStartAServer) {
  std::string url;
  {
    const TestServer gone({});
    url = gone.url();
  }
  const auto reply = HttpClient::create({.url = url})->send({.target = "/"});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, kServerUnreachable);
  EXPECT_NE(reply.error().message.find("no server answers at " + url), std::string::npos);
  EXPECT_NE(reply.error().message.find("glowplug serve"), std::string::npos);
}

TEST(HttpClient, ReplyBreaksOff_IsAnError) {
  TestServer server({"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"});
  const auto reply = client_for(server).send({.target = "/"});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, kBadReply);
}

TEST(HttpClient, SilentServer_TimesOut) {
  TestServer server({""});
  const auto reply = client_for(server).send({.target = "/", .idle_timeout = 1ms});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, kTimedOut);
}

TEST(HttpClient, Interrupt_BreaksOffTheWait) {
  TestServer server({""});
  const UniqueFd cancel(::eventfd(1, EFD_CLOEXEC));
  const auto reply = client_for(server, cancel.get()).send({.target = "/"});
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, kInterrupted);
}

}  // namespace
}  // namespace glowplug::cli
