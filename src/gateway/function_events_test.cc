// Streams of function events over a real socket, with the double of the platform telling changes.
#include <algorithm>

#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

using control::Change;
using domain::State;

class FunctionEventsTest : public GatewayTest {
 protected:
  FunctionEventsTest() { view().state = State::Cold; }

  control::FunctionView& view() { return platform_.views["fn"]; }
  // Everything that has arrived until `mark` is there; what came is kept over several calls.
  const std::string& read_until(const std::string& mark) {
    std::string more;
    if (!has(text_, mark)) {
      bool done = false;
      asio::co_spawn(io_, converse("", mark, more, done), asio::detached);
      EXPECT_TRUE(run_until([&done] { return done; })) << text_ << more;
      text_ += more;
    }
    return text_;
  }
  void open_stream() {
    asio::write(*client_, asio::buffer(get("/v1/functions/fn/events")));
    read_until("\n\n\r\n");
  }
  void become(State state, Change change = Change::State) {
    view().state = state;
    platform_.tell("fn", change);
    settle();
  }
  static std::size_t count(const std::string& text, const std::string& part) {
    std::size_t found = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
      ++found;
    return found;
  }

  std::string text_;
};

TEST_F(FunctionEventsTest, Stream_BeginsWithTheStatusAndTellsEachChange) {
  open_stream();
  EXPECT_TRUE(has(text_, "HTTP/1.1 200")) << text_;
  EXPECT_TRUE(has(text_, "content-type: text/event-stream"));
  EXPECT_TRUE(has(text_, "event: state\ndata: {\"object\":\"function\",\"function\":\"fn\""));
  EXPECT_TRUE(has(text_, "\"state\":\"cold\""));
  EXPECT_TRUE(has(text_, "\"manifest\":{\"name\":\"fn\""));
  become(State::Loading);
  become(State::Ready);
  read_until("\"state\":\"ready\"");
  EXPECT_TRUE(has(text_, "\"state\":\"loading\""));
  EXPECT_EQ(count(text_, "event: state\n"), 3u);
  EXPECT_EQ(platform_.calls, 0u);
}

TEST_F(FunctionEventsTest, Progress_HasItsOwnEventAndTheLastFractionComes) {
  open_stream();
  for (const double fraction : {0.25, 0.5, 0.75}) {
    view().progress = fraction;
    platform_.tell("fn", Change::Progress);
  }
  read_until("\"progress\":7.5E-1");
  EXPECT_EQ(count(text_, "event: progress\n"), 1u) << text_;
  EXPECT_EQ(count(text_, "\"manifest\""), 1u);  // of the first event only
}

TEST_F(FunctionEventsTest, Deleted_EndsTheStreamAndLeavesTheConnectionUsable) {
  open_stream();
  platform_.views.erase("fn");
  platform_.tell("fn", Change::Deleted);
  read_until("\r\n0\r\n\r\n");
  EXPECT_TRUE(has(text_,
                  "event: deleted\ndata: {\"object\":\"function\",\"function\":\"fn\","
                  "\"deleted\":true}\n\n"))
      << text_;
  EXPECT_TRUE(platform_.watchers.empty());
  EXPECT_TRUE(has(talk(get("/healthz"), "ok\"}"), "HTTP/1.1 200"));
}

TEST_F(FunctionEventsTest, Drain_EndsTheStreamProperlyAndClosesTheConnection) {
  open_stream();
  platform_.admits = false;
  gateway_->stop_accepting();
  read_until("no such text");
  EXPECT_TRUE(text_.ends_with("\n\n\r\n0\r\n\r\n")) << text_;
  EXPECT_TRUE(platform_.watchers.empty());
  EXPECT_EQ(gateway_->in_flight(), 0u);
}

TEST_F(FunctionEventsTest, ClientLeaves_NobodyWatchesAndALateWordFindsNobody) {
  open_stream();
  const auto late = platform_.watchers.begin()->second.second;
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.watchers.empty(); }));
  EXPECT_TRUE(run_until([this] { return gateway_->in_flight() == 0; }));
  late(Change::State);
  settle();
}

TEST_F(FunctionEventsTest, GatewayEndsFirst_ThePlatformIsNotCalledAnyMore) {
  open_stream();
  gateway_.reset();
  platform_.tell("fn", Change::State);
  platform_.gone = true;  // the stream itself ends with the loop, after this
}

TEST_F(FunctionEventsTest, Refusals_AreErrorsWithRetryAfter) {
  EXPECT_TRUE(has(talk(get("/v1/functions/none/events")), "model_not_found"));
  platform_.refusal = Error{"server_is_overloaded", "256 event streams are open.", ""};
  const std::string full = talk(get("/v1/functions/fn/events"));
  EXPECT_TRUE(has(full, "HTTP/1.1 503")) << full;
  EXPECT_TRUE(has(full, "retry-after: 5\r\n"));
  EXPECT_TRUE(has(talk(get("/metrics"), "glowplug_connections 1"),
                  "glowplug_event_streams_refused_total 1"));
  platform_.refusal.reset();
  platform_.admits = false;
  const std::string draining = talk(get("/v1/functions/fn/events"));
  EXPECT_TRUE(has(draining, "shutting_down")) << draining;
  EXPECT_TRUE(has(draining, "retry-after: 1\r\n"));
  EXPECT_EQ(platform_.watches, 0u);
}

TEST_F(FunctionEventsTest, Head_AnswersTheHeaderAndWatchesNothing) {
  const std::string head =
      talk("HEAD /v1/functions/fn/events HTTP/1.1\r\nhost: localhost\r\n\r\n", "\r\n\r\n");
  EXPECT_TRUE(has(head, "HTTP/1.1 200")) << head;
  EXPECT_TRUE(has(head, "text/event-stream"));
  EXPECT_EQ(platform_.watches, 0u);
  EXPECT_TRUE(has(talk(get("/healthz"), "ok\"}"), "HTTP/1.1 200"));
}

TEST_F(FunctionEventsTest, OldClient_GetsBareEventsUntilTheConnectionEnds) {
  asio::write(*client_, asio::buffer(std::string("GET /v1/functions/fn/events HTTP/1.0\r\n\r\n")));
  run_until([this] { return platform_.watches == 1; });
  platform_.tell("fn", Change::Deleted);
  read_until("no such text");
  EXPECT_TRUE(has(text_, "\r\n\r\nevent: state\ndata: {")) << text_;
  EXPECT_TRUE(text_.ends_with("\"deleted\":true}\n\n"));
}

// A megabyte per event fills every buffer of the kernel after a few; the other changes must not
// wait in memory.
TEST_F(FunctionEventsTest, ClientThatReadsNothing_GetsTheLatestOnceItReads) {
  open_stream();
  constexpr int kChanges = 200;
  for (int i = 1; i <= kChanges; ++i) {
    view().reason = std::string(1 << 20, 'x');
    view().calls = static_cast<std::uint64_t>(i);
    become(i % 2 ? State::Loading : State::Cold);
  }
  read_until("\"calls\":" + std::to_string(kChanges));
  const std::size_t events = count(text_, "event: state\n");
  EXPECT_LT(events, 50u);
  EXPECT_GT(events, 1u);
  EXPECT_EQ(platform_.watchers.size(), 1u);
}

TEST_F(FunctionEventsTest, ClientThatReadsNothing_HoldsTheDrainForASecondAtMost) {
  open_stream();
  view().reason = std::string(64 << 20, 'x');
  become(State::Loading);
  EXPECT_EQ(gateway_->in_flight(), 1u);
  const auto began = std::chrono::steady_clock::now();
  gateway_->stop_accepting();
  EXPECT_TRUE(run_until([this] { return gateway_->in_flight() == 0; }));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(3));
}

}  // namespace
}  // namespace glowplug::gateway
