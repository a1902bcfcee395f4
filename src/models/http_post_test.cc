#include "models/http_post.h"

#include <condition_variable>
#include <future>
#include <mutex>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "models/test_http_server.h"

namespace glowplug::models {
namespace {

using namespace std::chrono_literals;

const TargetRule kLoopback = *TargetRule::read({"127.0.0.0/8"}, true);

CurlHttpPost::Options options(TargetRule rule = kLoopback) {
  return {.rule = std::move(rule),
          .timeout = 10s,
          .resolve = {},
          .deliver = [](const std::function<void()>& call) { call(); }};
}

PostReply post(HttpPost& posts, const std::string& url, const std::string& body = "{}") {
  std::promise<PostReply> heard;
  posts.post({.url = url, .headers = {"x-one: 1", "content-type: application/json"}, .body = body},
             [&heard](PostReply reply) { heard.set_value(std::move(reply)); });
  return heard.get_future().get();
}

int port_of(const TestHttpServer& server) {
  const std::string url = server.url();
  return std::stoi(url.substr(url.rfind(':') + 1));
}

TEST(HttpPost, SendsHeadersAndBody_AndGivesTheStatus) {
  TestHttpServer server([](const TestRequest&) { return answer("202 Accepted", "", "thanks"); });
  CurlHttpPost posts(options());
  EXPECT_EQ(post(posts, server.url("/hook?x=1"), R"({"a":1})").status, 202);
  const TestRequest request = server.requests().at(0);
  EXPECT_TRUE(request.is("POST /hook?x=1")) << request.text;
  EXPECT_EQ(request.header("x-one"), "1");
  EXPECT_EQ(request.header("Content-Length"), "7");
  EXPECT_EQ(request.header("content-type"), "application/json");
}

TEST(HttpPost, Redirect_IsAnAnswerAndIsNotFollowed) {
  TestHttpServer target([](const TestRequest&) { return answer("200 OK", "", ""); });
  TestHttpServer server([&target](const TestRequest&) {
    return answer("307 Temporary Redirect", "Location: " + target.url("/x") + "\r\n", "");
  });
  CurlHttpPost posts(options());
  EXPECT_EQ(post(posts, server.url("/")).status, 307);
  EXPECT_TRUE(target.requests().empty());
}

TEST(HttpPost, RetryAfter_IsRead) {
  TestHttpServer server([](const TestRequest&) {
    return answer("429 Too Many Requests", "Retry-After: 17\r\n", "");
  });
  CurlHttpPost posts(options());
  const PostReply reply = post(posts, server.url("/"));
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.retry_after, std::optional<Duration>(17s));
}

TEST(HttpPost, LongAnswer_IsCutAndItsStatusCounts) {
  TestHttpServer server([](const TestRequest&) {
    return "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + std::string(8 << 20, 'x');
  });
  CurlHttpPost posts(options());
  EXPECT_EQ(post(posts, server.url("/")).status, 200);
  EXPECT_GT(posts.bytes_read(), 0U);
  EXPECT_LT(posts.bytes_read(), 256U * 1024);
}

TEST(HttpPost, ConnectionThatEndsWithoutAnAnswer_HasNoStatus) {
  TestHttpServer server([](const TestRequest&) { return std::string(); });
  CurlHttpPost posts(options());
  const PostReply reply = post(posts, server.url("/"));
  EXPECT_EQ(reply.status, 0);
  EXPECT_NE(reply.failure, "");
  EXPECT_EQ(server.requests().size(), 1U);  // sent once
}

TEST(HttpPost, WhatIsNoHttp_HasNoStatus) {
  TestHttpServer server([](const TestRequest&) { return std::string("220 smtp ready\r\n"); });
  CurlHttpPost posts(options());
  EXPECT_EQ(post(posts, server.url("/")).status, 0);
}

TEST(HttpPost, TargetThatHangs_EndsByItsTimeAndHoldsUpNobody) {
  std::promise<void> may_answer;
  TestHttpServer hanging([gate = may_answer.get_future().share()](const TestRequest&) {
    gate.wait();
    return std::string();
  });
  TestHttpServer quick([](const TestRequest&) { return answer("200 OK", "", ""); });
  CurlHttpPost::Options short_time = options();
  short_time.timeout = 1500ms;
  CurlHttpPost posts(short_time);
  std::promise<PostReply> hung;
  posts.post({.url = hanging.url("/"), .headers = {}, .body = ""},
             [&hung](PostReply reply) { hung.set_value(std::move(reply)); });
  std::future<PostReply> later = hung.get_future();
  EXPECT_EQ(post(posts, quick.url("/")).status, 200);
  EXPECT_EQ(later.wait_for(0s), std::future_status::timeout);
  EXPECT_EQ(later.get().status, 0);
  may_answer.set_value();
}

// A name, not an address: only whom it leads to tells.
TEST(HttpPost, NameThatLeadsInside_IsNeverConnectedTo) {
  TestHttpServer server([](const TestRequest&) { return answer("200 OK", "", ""); });
  const int port = port_of(server);
  CurlHttpPost::Options strict = options(*TargetRule::read({}, true));
  for (const char* address : {"127.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]", "[::1]"})
    for (const char* scheme : {"https", "http"}) {
      strict.resolve = {fmt::format("hook.example:{}:{}", port, address)};
      CurlHttpPost posts(strict);
      const PostReply reply = post(posts, fmt::format("{}://hook.example:{}/", scheme, port));
      EXPECT_EQ(reply.status, 0) << address;
      EXPECT_NE(reply.failure.find("which this server sends nothing to"), std::string::npos)
          << reply.failure;
    }
  EXPECT_TRUE(server.requests().empty());
}

TEST(HttpPost, NameThatChanges_IsJudgedAtEachAttempt) {
  TestHttpServer server([](const TestRequest&) { return answer("200 OK", "", ""); });
  const int port = port_of(server);
  const std::string url = fmt::format("http://hook.example:{}/", port);
  CurlHttpPost::Options only_one = options(*TargetRule::read({"127.0.0.1"}, true));
  only_one.resolve = {fmt::format("hook.example:{}:127.0.0.1", port)};
  CurlHttpPost before(only_one);
  EXPECT_EQ(post(before, url).status, 200);
  only_one.resolve = {fmt::format("hook.example:{}:127.0.0.2", port)};  // it listens there too
  CurlHttpPost after(only_one);
  EXPECT_EQ(post(after, url).status, 0);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST(HttpPost, UrlThatTheRuleRefuses_IsNotAsked) {
  CurlHttpPost posts(options(TargetRule()));
  for (const char* url : {"http://example.com/", "https://127.0.0.1/", "file:///etc/passwd", "x"})
    EXPECT_NE(post(posts, url).failure, "") << url;
}

TEST(HttpPost, ProxyOfTheEnvironment_IsNotUsed) {
  TestHttpServer proxy([](const TestRequest&) { return answer("200 OK", "", ""); });
  TestHttpServer server([](const TestRequest&) { return answer("204 No Content", "", ""); });
  for (const char* name : {"http_proxy", "all_proxy"}) ::setenv(name, proxy.url().c_str(), 1);
  CurlHttpPost posts(options());
  EXPECT_EQ(post(posts, server.url("/")).status, 204);
  for (const char* name : {"http_proxy", "all_proxy"}) ::unsetenv(name);
  EXPECT_TRUE(proxy.requests().empty());
}

TEST(HttpPost, End_GivesUpWhatIsUnderWay) {
  std::promise<void> may_answer, asked;
  TestHttpServer hanging([&asked, gate = may_answer.get_future().share()](const TestRequest&) {
    asked.set_value();
    gate.wait();
    return std::string();
  });
  bool called = false;
  {
    CurlHttpPost posts(options());
    posts.post({.url = hanging.url("/"), .headers = {}, .body = ""},
               [&called](const PostReply&) { called = true; });
    asked.get_future().wait();
  }
  EXPECT_FALSE(called);
  may_answer.set_value();
}

}  // namespace
}  // namespace glowplug::models
