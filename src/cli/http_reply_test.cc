#include "cli/http_reply.h"

#include <gtest/gtest.h>

namespace glowplug::cli {
namespace {

// Every way to cut the bytes in two must read alike.
HttpReply read_in_two(const std::string& bytes, std::size_t cut) {
  ReplyReader reader;
  EXPECT_TRUE(reader.feed(bytes.substr(0, cut)).ok());
  EXPECT_TRUE(reader.feed(bytes.substr(cut)).ok());
  EXPECT_TRUE(reader.finish().ok());
  EXPECT_TRUE(reader.done());
  return reader.reply();
}

TEST(ReplyReader, ChunkedReply_ReadsAlikeAtEveryCut) {
  const std::string bytes =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A:  b "
      "\r\n\r\n"
      "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n";
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    const HttpReply reply = read_in_two(bytes, cut);
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, "hello world");
    EXPECT_EQ(reply.header("x-a"), "b");
  }
}

TEST(ReplyReader, LengthAndCloseAndNoBody_AllEnd) {
  EXPECT_EQ(read_in_two("HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", 30).body, "no");
  EXPECT_EQ(read_in_two("HTTP/1.0 200 OK\r\n\r\nuntil close", 4).body, "until close");
  EXPECT_EQ(read_in_two("HTTP/1.1 204 No Content\r\n\r\n", 9).status, 204);
}

TEST(ReplyReader, BrokenOffReply_IsAnErrorNotAShorterBody) {
  for (const char* bytes :
       {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}) {
    ReplyReader reader;
    ASSERT_TRUE(reader.feed(bytes).ok());
    EXPECT_FALSE(reader.finish().ok()) << bytes;
  }
}

TEST(ReplyReader, Nonsense_IsRefused) {
  for (const char* bytes : {"SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n",
                            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n"}) {
    ReplyReader reader;
    EXPECT_FALSE(reader.feed(bytes).ok()) << bytes;
  }
  ReplyReader endless;
  EXPECT_FALSE(endless.feed(std::string(70'000, 'x')).ok());
}

TEST(ReplyReader, OnlyASuccessGoesToTheSink) {
  std::string sunk;
  const BodySink sink = [&sunk](std::string_view piece) {
    sunk += piece;
    return Want::More;
  };
  ReplyReader good(sink);
  ASSERT_TRUE(good.feed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok());
  EXPECT_EQ(sunk, "ok");
  EXPECT_EQ(good.reply().body, "");
  ReplyReader bad(sink);
  ASSERT_TRUE(bad.feed("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno").ok());
  EXPECT_EQ(sunk, "ok");
  EXPECT_EQ(bad.reply().body, "no");
}

TEST(ReplyReader, SinkThatHasEnough_EndsTheReading) {
  int pieces = 0;
  ReplyReader reader(
      [&pieces](std::string_view) { return ++pieces == 2 ? Want::Enough : Want::More; });
  ASSERT_TRUE(reader
                  .feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n")
                  .ok());
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(pieces, 2);
}

}  // namespace
}  // namespace glowplug::cli
