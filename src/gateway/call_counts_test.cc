#include "gateway/call_counts.h"

#include <gmock/gmock.h>

#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

using testing::HasSubstr;
using testing::Not;

std::uint64_t ended(const CallCounts& calls) {
  std::uint64_t sum = 0;
  for (const CallFate fate :
       {CallFate::Answered, CallFate::Refused, CallFate::Broken, CallFate::Cancelled})
    sum += calls.ended_count(fate);
  return sum;
}

std::string text_of(const CallCounts& calls) {
  MetricsText text(MetricsFormat::PrometheusText);
  calls.write(text);
  return text.take();
}

TEST(CallCountsTest, OpenCall_EndsOnceWithTheFirstThatIsTold) {
  CallCounts calls;
  {
    OpenCall call(calls);
    EXPECT_EQ(calls.open_count(), 1u);
    EXPECT_EQ(ended(calls), 0u);
    call.end("f", CallFate::Refused, "queue_full");
    call.end("f", CallFate::Answered, call_reason::kComplete);
    EXPECT_EQ(calls.open_count(), 0u);
  }
  EXPECT_EQ(calls.arrived_count(), 1u);
  EXPECT_EQ(ended(calls), 1u);
  EXPECT_EQ(calls.ended_count(CallFate::Refused), 1u);
}

TEST(CallCountsTest, CallThatNobodyEnded_IsBrokenByAFaultOfOurs) {
  CallCounts calls;
  { const OpenCall call(calls); }
  EXPECT_EQ(calls.open_count(), 0u);
  EXPECT_THAT(text_of(calls),
              HasSubstr("_ended_total{outcome=\"broken\",reason=\"server_error\"} 1\n"));
}

TEST(CallCountsTest, ReasonOfNobodysList_IsOther) {
  CallCounts calls;
  for (const char* reason : {"made up by an engine", "", "x\"} 1\nevil 1"})
    OpenCall(calls).end("f", CallFate::Refused, reason);
  const std::string text = text_of(calls);
  EXPECT_THAT(text, HasSubstr("_ended_total{outcome=\"refused\",reason=\"other\"} 3\n"));
  EXPECT_THAT(text, Not(HasSubstr("evil")));
}

TEST(CallCountsTest, FunctionIsGone_ItsCallsStayInTheSums) {
  CallCounts calls;
  OpenCall(calls).end("f", CallFate::Refused, "queue_full");
  OpenCall(calls).end("f", CallFate::Answered, call_reason::kComplete);
  OpenCall(calls).end("", CallFate::Refused, "model_not_found");
  const std::string of_f =
      "unanswered_total{function=\"f\",outcome=\"refused\",reason=\"queue_full\"} 1\n";
  EXPECT_THAT(text_of(calls), HasSubstr(of_f));
  EXPECT_THAT(text_of(calls), Not(HasSubstr("function=\"f\",outcome=\"answered\"")));
  calls.keep_only({});
  const std::string text = text_of(calls);
  EXPECT_THAT(text, Not(HasSubstr("function=\"f\"")));
  EXPECT_THAT(text, HasSubstr("unanswered_total{function=\"\",outcome=\"refused\",reason=\""
                              "model_not_found\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("_ended_total{outcome=\"refused\",reason=\"queue_full\"} 1\n"));
  EXPECT_EQ(ended(calls), calls.arrived_count());
}

// At the edge: how often each end has come, beside the sum that must hold.
class CountedTest : public GatewayTest {
 protected:
  std::string metrics() {
    connect();
    return talk(get("/metrics"), "glowplug_process_memory_reserved_bytes{kind=\"spare\"} 0");
  }
  void expect_ended(const std::string& outcome, const std::string& reason,
                    const std::string& function = "fn") {
    const CallCounts& calls = gateway_->calls();
    EXPECT_TRUE(run_until([&calls] { return calls.open_count() == 0; }));
    EXPECT_EQ(calls.arrived_count(), 1u);
    EXPECT_EQ(ended(calls), 1u);
    const std::string text = metrics();
    const std::string end = "outcome=\"" + outcome + "\",reason=\"" + reason + "\"} 1\n";
    EXPECT_THAT(text, HasSubstr("glowplug_calls_arrived_total 1\n"));
    EXPECT_THAT(text, HasSubstr("glowplug_calls_open 0\n"));
    EXPECT_THAT(text, HasSubstr("glowplug_calls_ended_total{" + end));
    if (outcome != "answered") {
      EXPECT_THAT(
          text, HasSubstr("glowplug_calls_unanswered_total{function=\"" + function + "\"," + end));
    }
  }
  static std::string whole(const std::string& body, const std::string& status = "200 OK") {
    return "HTTP/1.1 " + status +
           "\r\ncontent-type: application/json\r\ncontent-length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
  }
  static std::string stream_begin() {
    const std::string event = R"(data: {"choices":[{"index":0,"delta":{"content":"hi"}}]})";
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", event.size() + 2);
    return "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
           "\r\n\r\n" +
           std::string(size) + event + "\n\n\r\n";
  }
};

TEST_F(CountedTest, WholeAnswer) {
  scripts_ = {whole(R"({"usage":{"prompt_tokens":1,"completion_tokens":2}})")};
  talk(chat());
  expect_ended("answered", "complete");
}

TEST_F(CountedTest, Stream_IsOpenUntilItEnds) {
  scripts_ = {stream_begin()};
  talk(chat(R"(,"stream":true)"), "hi");
  EXPECT_EQ(gateway_->calls().open_count(), 1u);
  client_->close();
  expect_ended("cancelled", "answering");
}

TEST_F(CountedTest, StreamThatItsReplicaBreaks) {
  scripts_ = {stream_begin()};
  break_after_ = true;
  talk(chat(R"(,"stream":true)"), "replica_failed");
  expect_ended("broken", "replica_failed");
}

TEST_F(CountedTest, ReplicaThatBreaksTwice) {
  talk(chat());  // no script: it closes
  expect_ended("broken", "replica_failed");
}

TEST_F(CountedTest, BrokenCallWhoseOtherTryIsRefused_IsBroken) {
  platform_.retry_refusal = Error{"model_not_found", "It was deleted meanwhile.", ""};
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 404"));
  expect_ended("broken", "model_not_found");
}

TEST_F(CountedTest, CallerWhoLeavesWhileItWaits) {
  platform_.hold = true;
  asio::write(*client_, asio::buffer(chat()));
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  client_->close();
  expect_ended("cancelled", "waiting");
}

TEST_F(CountedTest, BodyThatNeverComes) {
  asio::write(*client_,
              asio::buffer(std::string("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
                                       "content-length: 100\r\n\r\n{")));
  EXPECT_TRUE(run_until([this] { return gateway_->calls().open_count() == 1; }));
  client_->close();
  expect_ended("cancelled", "sending", "");
}

TEST_F(CountedTest, RefusedByThePlatform) {
  platform_.refusal = Error{"queue_full", "512 calls wait.", ""};
  talk(chat());
  expect_ended("refused", "queue_full");
}

TEST_F(CountedTest, RefusedByTheEngine_ItsOwnCodeIsOther) {
  scripts_ = {whole(R"({"error":{"message":"no","code":"of_its_own"}})", "400 Bad Request")};
  talk(chat());
  expect_ended("refused", "other");
}

TEST_F(CountedTest, UnknownFunction) {
  talk(post("/v1/chat/completions", R"({"model":"none","messages":[]})"));
  expect_ended("refused", "model_not_found", "");
}

TEST_F(CountedTest, BadBody) {
  talk(post("/v1/chat/completions", "{\"model\":"));
  expect_ended("refused", "invalid_json", "");
}

TEST_F(CountedTest, BadField_IsItsFunctions) {
  talk(chat(R"(,"max_tokens":"many")"));
  expect_ended("refused", "invalid_value");
}

TEST_F(CountedTest, BodyOverTheLimit) {
  talk(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000000\r\n"
      "\r\n{",
      "\"code\"");
  expect_ended("refused", "request_too_large", "");
}

TEST_F(CountedTest, PageOfAnotherSite) {
  talk("POST /v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 2\r\n\r\n{}",
       "\"error\"");
  expect_ended("refused", "forbidden", "");
}

TEST_F(CountedTest, Draining) {
  platform_.admits = false;
  talk(chat());
  expect_ended("refused", "shutting_down");
}

TEST_F(CountedTest, InvokeOfABadEvent) {
  talk(post("/v1/functions/fn/invoke", R"({"body":7})"));
  expect_ended("refused", "invalid_value", "");
}

TEST_F(CountedTest, DryRun) {
  talk(post("/v1/functions/fn/invoke", R"({"body":{"prompt":"x"}})",
            "x-invocation-type: DryRun\r\n"),
       "\r\n\r\n");
  expect_ended("answered", "dry_run");
}

TEST_F(CountedTest, RequestsThatAreNoCalls_AreCountedByTheirErrorAlone) {
  talk(get("/nope"));
  talk(get("/v1/chat/completions"));
  talk(get("/v1/functions/none"));
  talk(get("/healthz"), "ok\"}");
  EXPECT_EQ(gateway_->calls().arrived_count(), 0u);
  const std::string text = metrics();
  EXPECT_THAT(text, HasSubstr("glowplug_requests_refused_total{reason=\"not_found\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("glowplug_requests_refused_total{reason=\"method_not_allowed\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("glowplug_requests_refused_total{reason=\"model_not_found\"} 1\n"));
}

TEST_F(CountedTest, Processes_ShowEveryReasonFromTheFirstStartOn) {
  EXPECT_THAT(metrics(), Not(HasSubstr("glowplug_processes_ended_total{")));
  control::StartProcess start;
  start.process = {1};
  platform_.processes.started(start);
  const std::string of = "{kind=\"replica\",device=\"cpu\"";
  EXPECT_THAT(metrics(), HasSubstr("_processes_ended_total" + of + ",reason=\"crashed\"} 0\n"));
  platform_.processes.ended({1}, domain::ExitReason::Crashed);
  const std::string text = metrics();
  EXPECT_THAT(text, HasSubstr("_processes_started_total" + of + "} 1\n"));
  EXPECT_THAT(text, HasSubstr("_processes_running" + of + "} 0\n"));
  EXPECT_THAT(text, HasSubstr("_processes_ended_total" + of + ",reason=\"crashed\"} 1\n"));
}

}  // namespace
}  // namespace glowplug::gateway
