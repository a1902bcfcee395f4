#include "gateway/event_stream.h"

#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

constexpr std::string_view kText =
    "data: "
    "{\"id\":\"a\",\"model\":\"engine\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}"
    "\n\n";
constexpr std::string_view kUsage =
    "data: "
    "{\"id\":\"a\",\"model\":\"engine\",\"choices\":[],\"timings\":{\"x\":1},\"usage\":{\"prompt_"
    "tokens\":3,"
    "\"completion_tokens\":2,\"total_tokens\":5}}\n\n";
constexpr std::string_view kDone = "data: [DONE]\n\n";

EventStream stream_of(bool include_usage, Surface surface = Surface::Chat) {
  return EventStream(StreamOptions{surface, "fn", include_usage});
}

TEST(EventStream, UsageNotAsked_IsMeteredAndHidden) {
  EventStream stream = stream_of(false);
  std::string out = stream.feed(kText);
  out += stream.feed(kUsage);
  out += stream.feed(kDone);
  EXPECT_EQ(out.find("usage"), std::string::npos);
  EXPECT_EQ(out.find("engine"), std::string::npos);
  EXPECT_NE(out.find("\"model\":\"fn\""), std::string::npos);
  EXPECT_TRUE(out.ends_with(kDone));
  EXPECT_TRUE(stream.complete());
  EXPECT_EQ(stream.usage().prompt_tokens, 3u);
  EXPECT_EQ(stream.usage().completion_tokens, 2u);
}

TEST(EventStream, StreamThatWasCutOff_CountsThePiecesThatWereHandedOver) {
  EventStream stream = stream_of(false);
  stream.feed(kText);
  EXPECT_EQ(stream.usage().completion_tokens, 0u);  // nobody has them yet
  stream.note_handed_over();
  const auto handed = stream.usage().completion_tokens;
  EXPECT_EQ(handed, 1u);
  stream.feed(kText);
  EXPECT_EQ(stream.usage().completion_tokens, handed);
  stream.feed(R"(data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]})"
              "\n\n");
  stream.note_handed_over();
  EXPECT_EQ(stream.usage().completion_tokens, 2u);  // the role alone is no token
  stream.feed(kUsage);
  stream.feed(kDone);
  EXPECT_EQ(stream.usage().completion_tokens, 2u);  // as the engine says
}

TEST(EventStream, CostIsAskedOnce_AndSaidBesideTheUsage) {
  int asked = 0;
  StreamOptions options{.surface = Surface::Chat, .model = "fn", .include_usage = true};
  options.cost = [&asked] {
    ++asked;
    return boost::json::object{{"micros", 17}};
  };
  EventStream stream(std::move(options));
  stream.feed(kText);
  EXPECT_NE(stream.feed(kUsage).find(R"("cost":{"micros":17})"), std::string::npos);
  stream.feed(kDone);
  EXPECT_EQ(asked, 1);
}

TEST(EventStream, UsageAsked_IsNullOnChunksAndOnceAtTheEnd) {
  EventStream stream = stream_of(true);
  const std::string first = stream.feed(kText);
  EXPECT_NE(first.find("\"usage\":null"), std::string::npos);
  const std::string last = stream.feed(kUsage);
  EXPECT_NE(last.find("\"total_tokens\":5"), std::string::npos);
  EXPECT_EQ(last.find("timings"), std::string::npos);
  EXPECT_EQ(stream.feed(kDone), kDone);
}

TEST(EventStream, UsageAskedButEngineSentItOnTheLastChoice_OneUsageChunkIsMade) {
  EventStream stream = stream_of(true);
  stream.feed(
      "data: "
      "{\"id\":\"a\",\"choices\":[{\"index\":0}],\"usage\":{\"prompt_tokens\":1,\"completion_"
      "tokens\":1}}\n\n");
  const std::string out = stream.feed(kDone);
  EXPECT_NE(out.find("\"choices\":[]"), std::string::npos);
  EXPECT_NE(out.find("\"total_tokens\":2"), std::string::npos);
}

TEST(EventStream, EveryCutOfTheBytes_GivesTheSameText) {
  const std::string all =
      std::string(kText) + ": ping\n\n" + std::string(kUsage) + std::string(kDone);
  EventStream whole = stream_of(true);
  const std::string expected = whole.feed(all);
  for (std::size_t cut = 0; cut <= all.size(); ++cut) {
    EventStream stream = stream_of(true);
    std::string out = stream.feed(all.substr(0, cut));
    out += stream.feed(all.substr(cut));
    ASSERT_EQ(out, expected) << "cut at byte " << cut;
  }
}

TEST(EventStream, EngineError_EndsWithoutDone) {
  EventStream stream = stream_of(false);
  EXPECT_EQ(stream.feed("data: {\"error\":{\"code\":500,\"message\":\"x\"}}\n\n"), "");
  EXPECT_TRUE(stream.engine_error().has_value());
  EXPECT_FALSE(stream.complete());
}

TEST(EventStream, EventLargerThanTheBuffer_IsAFailure) {
  EventStream stream = stream_of(false);
  stream.feed("data: " + std::string(300 * 1024, 'x'));
  EXPECT_TRUE(stream.engine_error().has_value());
}

TEST(EventStream, NamedEvents_KeepTheirNamesAndHaveNoDone) {
  EventStream stream = stream_of(false, Surface::Messages);
  const std::string out = stream.feed(
      "event: message_start\ndata: "
      "{\"type\":\"message_start\",\"message\":{\"model\":\"engine\",\"usage\":"
      "{\"input_tokens\":4,\"output_tokens\":0}}}\n\nevent: message_delta\ndata: "
      "{\"type\":\"message_delta\","
      "\"usage\":{\"output_tokens\":7}}\n\nevent: message_stop\ndata: "
      "{\"type\":\"message_stop\"}\n\n");
  EXPECT_TRUE(out.starts_with("event: message_start\n"));
  EXPECT_NE(out.find("\"model\":\"fn\""), std::string::npos);
  EXPECT_TRUE(stream.complete());
  EXPECT_EQ(stream.usage().prompt_tokens, 4u);
  EXPECT_EQ(stream.usage().completion_tokens, 7u);
}

TEST(EventStream, FirstTokenWasHalfACharacter_RoleIsStillNamedOnce) {
  EventStream stream = stream_of(false);
  EXPECT_NE(stream.feed(kText).find("\"role\":\"assistant\""), std::string::npos);
  EXPECT_EQ(stream.feed(kText).find("\"role\""), std::string::npos);
}

TEST(EventStream, FirstTokenWasHalfACharacter_MessageStillStarts) {
  EventStream stream(StreamOptions{Surface::Messages, "fn", false, "msg_1"});
  const std::string out = stream.feed(
      "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0}\n\n");
  EXPECT_TRUE(out.starts_with("event: message_start\ndata: {\"type\":\"message_start\"")) << out;
  EXPECT_NE(out.find("msg_1"), std::string::npos);
  EXPECT_NE(out.find("event: content_block_start"), std::string::npos);
}

TEST(RewriteAnswer, ModelIsTheFunction_TimingsAreGone) {
  Usage usage;
  const std::string out = rewrite_answer(
      R"({"model":"m","timings":{},"usage":{"prompt_tokens":1,"completion_tokens":2}})", "fn",
      usage);
  EXPECT_EQ(out, R"({"model":"fn","usage":{"prompt_tokens":1,"completion_tokens":2}})");
  EXPECT_EQ(usage.completion_tokens, 2u);
}

TEST(RewriteAnswer, CachedTokens_AreReadInEachVocabulary) {
  for (const char* usage : {R"({"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":7}})",
                            R"({"input_tokens":9,"input_tokens_details":{"cached_tokens":7}})",
                            R"({"input_tokens":9,"cache_read_input_tokens":7})"}) {
    Usage read;
    rewrite_answer(std::string(R"({"usage":)") + usage + "}", "f", read);
    EXPECT_EQ(read.cached_tokens, 7u) << usage;
    EXPECT_EQ(read.prompt_tokens, 9u) << usage;
  }
  Usage read;
  rewrite_answer(R"({"usage":{"prompt_tokens":9,"prompt_tokens_details":[7]}})", "f", read);
  EXPECT_EQ(read.cached_tokens, 0u);
}

}  // namespace
}  // namespace glowplug::gateway
