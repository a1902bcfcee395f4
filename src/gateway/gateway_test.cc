#include "gateway/gateway.h"

#include <algorithm>

#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

std::string whole(std::string_view body) {
  return "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string chunk(std::string_view event) {
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", event.size());
  return size + std::string(event) + "\r\n";
}
const std::string kStreamHead =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const std::string kText =
    chunk("data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n");
const std::string kUsage =
    chunk("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n");
const std::string kDone = chunk("data: [DONE]\n\n") + "0\r\n\r\n";

TEST_F(GatewayTest, RefusalsOnOneConnection_AllKeepItUsable) {
  EXPECT_TRUE(has(talk(get("/nope")), "404"));
  const std::string wrong = talk(get("/v1/chat/completions"));
  EXPECT_TRUE(has(wrong, "HTTP/1.1 405"));
  EXPECT_TRUE(has(wrong, "allow: POST, OPTIONS"));
  EXPECT_TRUE(has(wrong, "x-request-id: req_"));
  const std::string broken = talk(post("/v1/chat/completions", "{\"model\":"));
  EXPECT_TRUE(has(broken, "invalid_json")) << broken;
  EXPECT_TRUE(has(broken, "byte 9"));
  EXPECT_TRUE(has(talk(post("/v1/chat/completions", R"({"model":"none","messages":[]})")),
                  "The model `none` does not exist or you do not have access to it."));
  EXPECT_TRUE(
      has(talk(post("/v1/chat/completions", R"({"model":"gpt2"})")), "glowplug deploy gpt2"));
  EXPECT_TRUE(has(talk(get("/v1/functions/%2e%2e%2fx")), "HTTP/1.1 404"));
  EXPECT_TRUE(has(talk(get("/healthz"), "ok\"}"), "HTTP/1.1 200"));
  EXPECT_EQ(platform_.calls, 0u);
}

TEST_F(GatewayTest, RouteThrows_IsA500AndOthersGoOn) {
  const std::string answer = talk(
      "PUT /v1/functions/throws HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
      "content-length: 2\r\n\r\n{}");
  EXPECT_TRUE(has(answer, "HTTP/1.1 500")) << answer;
  EXPECT_TRUE(has(answer, "connection: close"));
  EXPECT_TRUE(has(answer, "what nobody foresaw"));
  connect();
  EXPECT_TRUE(has(talk(get("/healthz"), "ok\"}"), "HTTP/1.1 200"));
}

TEST_F(GatewayTest, BodyOverTheLimit_Is413BeforeItIsRead) {
  const std::string answer = talk(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000000\r\n\r\n{",
      "\"code\"");
  EXPECT_TRUE(has(answer, "HTTP/1.1 413")) << answer;
}

TEST_F(GatewayTest, HeaderOverTheLimit_Is431) {
  const std::string answer =
      talk("GET / HTTP/1.1\r\nx: " + std::string(70 * 1024, 'a') + "\r\n\r\n", "\"code\"");
  EXPECT_TRUE(has(answer, "HTTP/1.1 431")) << answer;
}

TEST_F(GatewayTest, PageOfAnotherSite_IsForbiddenOnEveryRouteAndMethod) {
  for (const char* line : {"GET /healthz", "GET /v1/functions/fn", "DELETE /v1/functions/fn"}) {
    const std::string answer =
        talk(std::string(line) + " HTTP/1.1\r\nhost: evil.example:4569\r\n\r\n", "\"error\"");
    EXPECT_TRUE(has(answer, "HTTP/1.1 403")) << line;
    EXPECT_TRUE(has(answer, "evil.example:4569")) << line;
  }
  EXPECT_EQ(platform_.views.count("fn"), 1u);
}

TEST_F(GatewayTest, LengthAndChunkedTogether_Is400AndTheConnectionEnds) {
  const std::string answer = talk(
      "POST /v1/invoke HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: "
      "chunked\r\n\r\n0\r\n\r\n"
      "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
      "no such text");
  EXPECT_TRUE(has(answer, "HTTP/1.1 400")) << answer;
  EXPECT_FALSE(has(answer, "HTTP/1.1 200"));
}

class TransferCoding : public GatewayTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(TransferCoding, OtherThanChunked_Is400AndTheConnectionEnds) {
  const std::string answer =
      talk("POST /v1/invoke HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: " +
               std::string(GetParam()) +
               "\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
           "no such text");
  EXPECT_TRUE(has(answer, "HTTP/1.1 400")) << answer;
  EXPECT_TRUE(has(answer, "Transfer-Encoding is")) << answer;
  EXPECT_FALSE(has(answer, "HTTP/1.1 200"));
}

INSTANTIATE_TEST_SUITE_P(Codings, TransferCoding, ::testing::Values("gzip", "gzip, chunked"));

TEST_F(GatewayTest, WholeAnswer_IsRenamedAndCarriesTheHeaders) {
  scripts_ = {
      whole(R"({"model":"m","timings":{},"usage":{"prompt_tokens":1,"completion_tokens":2}})")};
  const std::string answer = talk(chat(R"(,"id_slot":3)"));
  EXPECT_TRUE(has(answer, "HTTP/1.1 200")) << answer;
  EXPECT_TRUE(has(answer, R"("model":"fn")"));
  EXPECT_TRUE(has(answer, "x-glowplug-revision: 3"));
  EXPECT_TRUE(has(answer, "server-timing: queue;dur="));
  EXPECT_FALSE(has(seen_, "id_slot"));
  EXPECT_EQ(platform_.finished, 1);
  EXPECT_TRUE(platform_.first_tokens.empty());  // nobody knows when it began
  const std::string metrics = talk(get("/metrics"), "glowplug_memory_bytes{function=\"fn\"} 0");
  EXPECT_TRUE(has(metrics, "glowplug_tokens_total{function=\"fn\",kind=\"completion\"} 2"))
      << metrics;
}

TEST_F(GatewayTest, ServerTiming_SaysWhatAColdCallsStartRead) {
  const std::string body = R"({"model":"m","usage":{"prompt_tokens":1,"completion_tokens":2}})";
  const std::string stream = kStreamHead + kText + kUsage + kDone;
  scripts_ = {whole(body), stream, whole(body), whole(body)};
  platform_.granting.cold = true;
  platform_.granting.tier = domain::Tier::Disk;
  platform_.granting.bytes_read = 98'400'000;
  const auto timing = [](const std::string& answer) {
    const std::size_t from = std::min(answer.find("server-timing: "), answer.size());
    return answer.substr(from, answer.find("\r\n", from) - from);
  };
  EXPECT_TRUE(timing(talk(chat())).ends_with(R"(, read;desc="98.4 MB")"));
  platform_.granting.bytes_read = 0;
  const std::string streamed = talk(chat(R"(,"stream":true)"), "0\r\n\r\n");
  EXPECT_TRUE(timing(streamed).ends_with(R"(, read;desc="0 B")")) << streamed;
  platform_.granting.bytes_read.reset();
  EXPECT_FALSE(has(timing(talk(chat())), "read")) << "its process does not say";
  platform_.granting.cold = false;
  platform_.granting.bytes_read = 98'400'000;
  EXPECT_FALSE(has(timing(talk(chat())), "read")) << "it waited for no start";
}

TEST_F(GatewayTest, Stream_HidesUsageThatWasNotAskedFor) {
  scripts_ = {kStreamHead + kText + kUsage + kDone, kStreamHead + kText + kUsage + kDone};
  const std::string plain = talk(chat(R"(,"stream":true)"), "0\r\n\r\n");
  EXPECT_TRUE(has(plain, "text/event-stream"));
  EXPECT_FALSE(has(plain, "usage"));
  EXPECT_TRUE(has(plain, "data: [DONE]"));
  const std::string asked =
      talk(chat(R"(,"stream":true,"stream_options":{"include_usage":true})"), "0\r\n\r\n");
  EXPECT_TRUE(has(asked, "\"usage\":null"));
  EXPECT_TRUE(has(asked, "\"completion_tokens\":2"));
  EXPECT_TRUE(run_until([this] { return platform_.finished == 2; }));
  ASSERT_EQ(platform_.first_tokens.size(), 2u);
  EXPECT_EQ(platform_.first_tokens[0].function, "fn");
  EXPECT_EQ(platform_.first_tokens[0].revision, 3);
  EXPECT_GT(platform_.first_tokens[0].after, Duration(0));
}

TEST_F(GatewayTest, WholeAnswer_BeganWhenItsEngineSays) {
  scripts_ = {whole(R"({"model":"m","timings":{"prompt_ms":4000,"predicted_ms":60000},)"
                    R"("usage":{"prompt_tokens":1,"completion_tokens":2}})"),
              whole(R"({"error":{"message":"no"},"timings":{"prompt_ms":4000}})")};
  scripts_[1].replace(9, 3, "400");
  talk(chat());
  talk(chat());
  ASSERT_EQ(platform_.first_tokens.size(), 1u);
  EXPECT_EQ(platform_.first_tokens[0].revision, 3);
  EXPECT_GE(platform_.first_tokens[0].after, std::chrono::seconds(4));
  EXPECT_LT(platform_.first_tokens[0].after, std::chrono::seconds(60));
}

TEST_F(GatewayTest, Function_ShowsWhatItsAutoscalerWants) {
  EXPECT_TRUE(has(talk(get("/v1/functions/fn")), R"("scaling":null)"));
  const std::string idle = talk(get("/metrics"), "glowplug_calls_in_flight{");
  EXPECT_FALSE(has(idle, "glowplug_replicas_wanted{"));
  platform_.views["fn"].scaling =
      control::ScaleView{domain::ScalePolicy::Threshold, 3, "51 wait, over 50: 3"};
  EXPECT_TRUE(has(talk(get("/v1/functions/fn")),
                  R"("scaling":{"policy":"threshold","wanted":3,"reason":"51 wait, over 50: 3"})"));
  const std::string sample = R"(glowplug_replicas_wanted{function="fn"} 3)";
  EXPECT_TRUE(has(talk(get("/metrics"), sample), sample));
}

TEST_F(GatewayTest, ReplicaBreaksMidStream_ErrorEventAndNoProperEnd) {
  scripts_ = {kStreamHead + kText};
  break_after_ = true;
  const std::string answer = talk(chat(R"(,"stream":true)"), "no such text");
  EXPECT_TRUE(has(answer, "replica_failed")) << answer;
  EXPECT_FALSE(has(answer, "[DONE]"));
  EXPECT_FALSE(has(answer, "\r\n0\r\n\r\n"));
  EXPECT_EQ(platform_.finished, 1);
}

TEST_F(GatewayTest, ReplicaFailsBeforeItAnswers_IsTriedOnceMore) {
  scripts_ = {"", whole(R"({"model":"m","usage":{"a":{}}})")};
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 200"));
  EXPECT_EQ(platform_.finished, 2);
  scripts_ = {"", ""};
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 502"));
  EXPECT_EQ(platform_.finished, 4);
}

TEST_F(GatewayTest, ClientLeavesMidStream_ReplicaIsClosedAndSlotsAreFree) {
  scripts_ = {kStreamHead + kText};
  talk(chat(R"(,"stream":true)"), "hi");
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1 && replica_closed_ == 1; }));
}

TEST_F(GatewayTest, ClientLeavesWhileWaiting_CallIsAbandoned) {
  platform_.hold = true;
  asio::write(*client_, asio::buffer(chat()));
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.abandoned == 1; }));
  EXPECT_EQ(platform_.finished, 0);
}

constexpr const char* kModel = R"("model":)";  // in what is answered

TEST_F(GatewayTest, ReplicaBreaksBeforeTheFirstByte_IsTriedAgainAsTheSameRequest) {
  scripts_ = {"", whole(R"({"model":"m"})")};
  EXPECT_TRUE(has(talk(chat(), kModel), "HTTP/1.1 200"));
  EXPECT_EQ(platform_.retries_of,
            (std::vector<std::optional<domain::CallId>>{std::nullopt, domain::CallId{1}}));
  EXPECT_EQ(platform_.outcomes,
            (std::vector{control::CallOutcome::ReplicaBroke, control::CallOutcome::Answered}));
  EXPECT_TRUE(has(talk(get("/metrics"), "glowplug_call_retries_total 1"), "retries_total 1"));
}

TEST_F(GatewayTest, RequestThatIsToBlame_IsToldSoAndNotToComeAgain) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  const std::string answer = talk(chat());
  EXPECT_TRUE(has(answer, "HTTP/1.1 422")) << answer;
  EXPECT_TRUE(has(answer, R"("code":"poisonous_request")"));
  EXPECT_TRUE(has(answer, "x-should-retry: false"));
  EXPECT_EQ(platform_.calls, 2u);
  EXPECT_EQ(platform_.outcomes,
            (std::vector{control::CallOutcome::ReplicaBroke, control::CallOutcome::ReplicaBroke}));
}

TEST_F(GatewayTest, EndOfTheReplica_IsAwaitedBeforeTheRequestIsToBlame) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  platform_.open_for = 3;
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 422"));
  EXPECT_EQ(platform_.blames_asked, 4);
}

TEST_F(GatewayTest, ReplicaThatBreaksOffAndLives_IsNotTheRequestsFault) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  platform_.open_for = 3;
  platform_.blamed = control::Blamed::No;
  const std::string answer = talk(chat());
  EXPECT_TRUE(has(answer, "HTTP/1.1 502")) << answer;
  EXPECT_TRUE(has(answer, R"("code":"replica_failed")"));
  EXPECT_EQ(platform_.outcomes,
            (std::vector{control::CallOutcome::ReplicaBroke, control::CallOutcome::ReplicaBroke}));
}

TEST_F(GatewayTest, EndThatIsNeverSeen_IsAwaitedForASecond) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  platform_.open_for = 1000;
  EXPECT_TRUE(has(talk(chat()), "HTTP/1.1 502"));
  EXPECT_EQ(platform_.blames_asked, 11);  // at 0, 1, 3, 7, … 1,023 ms
}

TEST_F(GatewayTest, ClientThatLeavesMeanwhile_EndsTheWaitForTheEnd) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  platform_.open_for = 1000;
  asio::write(*client_, asio::buffer(chat()));
  EXPECT_TRUE(run_until([this] { return platform_.blames_asked > 2; }));
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.finished == 2; }));
  EXPECT_LT(platform_.blames_asked, 11);
}

TEST_F(GatewayTest, FirstReplicaThatBreaks_IsNotYetTheRequestsFault) {
  scripts_ = {"", whole(R"({"model":"m"})")};
  platform_.poison = {1};
  EXPECT_TRUE(has(talk(chat(), kModel), "HTTP/1.1 200"));
}

TEST_F(GatewayTest, ClientThatLeavesAStream_SaysNothingOfTheReplica) {
  scripts_ = {kStreamHead + kText};
  talk(chat(R"(,"stream":true)"), "hi");
  client_->close();
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1; }));
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::Stopped});
}

TEST_F(GatewayTest, CallThatItsReplicaNeverSaw_SaysNothingOfHowLongAnswersTake) {
  platform_.views["fn"].manifest.engine.kind = domain::EngineKind::Llama;
  platform_.granting.facts.path = "/models/m.gguf";  // its template knows no tools
  const std::string answer =
      talk(chat(R"(,"tools":[{"type":"function","function":{"name":"a"}}])"));
  EXPECT_TRUE(has(answer, "HTTP/1.1 400")) << answer;
  EXPECT_EQ(platform_.outcomes, std::vector{control::CallOutcome::Unsent});
}

TEST_F(GatewayTest, Refusal_CarriesRetryAfter) {
  platform_.refusal = Error{"queue_full", "512 calls wait.", ""};
  const std::string answer = talk(chat());
  EXPECT_TRUE(has(answer, "HTTP/1.1 503"));
  EXPECT_TRUE(has(answer, "retry-after: 7\r\n"));
  EXPECT_TRUE(has(answer, "retry-after-ms: 7000\r\n"));
  platform_.refusal = Error{"does_not_fit", "Too big.", ""};
  EXPECT_TRUE(has(talk(chat()), "x-should-retry: false"));
  EXPECT_EQ(platform_.finished + platform_.abandoned, 0);
}

TEST_F(GatewayTest, Invoke_AnswersInKind) {
  const std::string answer =
      R"({"choices":[{"text":" world"}],"usage":{"prompt_tokens":1,"completion_tokens":1}})";
  scripts_ = {whole(answer), whole(answer)};
  const std::string object =
      talk(post("/v1/functions/fn/invoke", R"({"body":{"prompt":"hello"}})"));
  EXPECT_TRUE(has(object, R"("statusCode":200)")) << object;
  EXPECT_TRUE(has(object, R"("body":{"text":"hello world")"));
  const std::string text =
      talk(post("/v1/invoke",
                R"({"body":"{\"model\":\"fn\",\"prompt\":\"hello\",\"return_full_text\":false}"})"),
           "}}\"}");
  EXPECT_TRUE(has(text, R"("body":"{\"text\":\" world\")")) << text;
  EXPECT_TRUE(has(talk(post("/v1/functions/fn/invoke", "{}"), "}}}"), R"("statusCode":400)"));
  EXPECT_TRUE(
      has(talk(post("/v1/invoke", R"({"body":{"prompt":"x"}})"), "}}}"), "glowplug deploy gpt2"));
  EXPECT_TRUE(has(talk(post("/v1/functions/fn/invoke", R"({"body":{"prompt":"x"}})",
                            "x-invocation-type: DryRun\r\n"),
                       "\r\n\r\n"),
                  "HTTP/1.1 204"));
}

TEST_F(GatewayTest, Functions_ArePutShownAndDeleted) {
  EXPECT_TRUE(
      has(talk("PUT /v1/functions/new HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n",
               "changed\":true}"),
          "HTTP/1.1 201"));
  EXPECT_TRUE(
      has(talk("PUT /v1/functions/proc HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"),
          "HTTP/1.1 403"));
  EXPECT_TRUE(has(talk(get("/v1/functions/new"), "failover"), "\"manifest\":{"));
  EXPECT_TRUE(has(talk(get("/v1/models"), "]}"), "\"id\":\"new\""));
  const std::string remove = "DELETE /v1/functions/new HTTP/1.1\r\nhost: localhost\r\n\r\n";
  EXPECT_TRUE(has(talk(remove, "\r\n\r\n"), "HTTP/1.1 204"));
  EXPECT_TRUE(has(talk(remove), "HTTP/1.1 404"));
}

TEST_F(GatewayTest, Preload_ReachesThePlatformOrSaysWhatIsWrong) {
  const std::string path = "/v1/functions/fn/preload";
  EXPECT_TRUE(has(talk(post(path, R"({"tier":"template","for":"2m"})"), "\"}"), "HTTP/1.1 202"));
  EXPECT_TRUE(has(talk(post(path, R"({"tier":"memory","for":-1})"), "\"}"), "HTTP/1.1 202"));
  EXPECT_TRUE(has(talk(post(path, R"({"tier":"replica"})"), "\"}"), "HTTP/1.1 202"));
  const std::vector<std::string> wanted{"fn template 2m", "fn memory ever", "fn replica 5m"};
  EXPECT_EQ(platform_.preloads, wanted);
  EXPECT_TRUE(has(talk(post(path, R"({"tier":"remote"})")), "must be"));
  EXPECT_TRUE(has(talk(post(path, "")), "HTTP/1.1 400"));
  EXPECT_TRUE(has(talk(post(path, R"({"tier":"disk","for":"soon"})")), "HTTP/1.1 400"));
  EXPECT_TRUE(has(talk(post(path, R"({"tier":5})")), "HTTP/1.1 400"));
  EXPECT_EQ(platform_.preloads.size(), 3u);
}

TEST_F(GatewayTest, WarmList_ShowsWhatIsReadyOrHeld) {
  platform_.views["cold"].manifest.name = "cold";
  platform_.views["held"].manifest.name = "held";
  platform_.views["held"].holds.push_back({"preload", domain::Tier::Template, 1, Time::max()});
  platform_.views["resident"].manifest.name = "resident";
  platform_.views["resident"].tier = domain::Tier::Template;
  const std::string warm = talk(get("/v1/functions?warm=true"), "]}");
  EXPECT_TRUE(has(warm, "\"function\":\"held\""));
  EXPECT_TRUE(has(warm, "\"function\":\"resident\""));
  EXPECT_FALSE(has(warm, "\"function\":\"cold\""));
  EXPECT_TRUE(has(talk(get("/v1/functions?warm=false"), "]}"), "\"function\":\"cold\""));
  EXPECT_TRUE(has(talk(get("/v1/functions?warm=maybe")), "HTTP/1.1 400"));
}

TEST_F(GatewayTest, Draining_IsNotReadyAndEndsConnections) {
  platform_.admits = false;
  EXPECT_TRUE(has(talk(get("/readyz")), "HTTP/1.1 503"));
  gateway_->stop_accepting();
  EXPECT_EQ(talk(get("/healthz"), "no such text").find("HTTP/1.1 2"), std::string::npos);
}

TEST(ParseListen, Addresses_AreReadOrRefused) {
  EXPECT_EQ(parse_listen("127.0.0.1:4569").value(), (ListenAddress{"127.0.0.1", 4569}));
  EXPECT_EQ(parse_listen(":0").value().host, "127.0.0.1");
  EXPECT_EQ(parse_listen("[::1]:1").value().host, "::1");
  for (const char* text :
       {"", "4569", "127.0.0.1:", "127.0.0.1:70000", "name:1", "::1:1", "1.2.3.4:x"}) {
    EXPECT_FALSE(parse_listen(text).ok()) << text;
  }
}

TEST(Listen, PublicAddressOrTakenPort_IsRefused) {
  asio::io_context io;
  FakePlatform platform;
  SystemClock clock;
  GatewayOptions options;
  options.listen.host = "0.0.0.0";
  Gateway open_to_all(io, options, platform, clock);
  EXPECT_EQ(open_to_all.open().error().code, "forbidden");
  asio::ip::tcp::acceptor other(io, {asio::ip::address_v4::loopback(), 0});
  options.listen = ListenAddress{"127.0.0.1", other.local_endpoint().port()};
  Gateway second(io, options, platform, clock);
  EXPECT_EQ(second.open().error().code, "server_error");
}

}  // namespace
}  // namespace glowplug::gateway
