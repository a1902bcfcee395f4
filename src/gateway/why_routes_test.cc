#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_to.hpp>

#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

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
const std::string kUsage = chunk(
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},"
    "\"timings\":{\"prompt_ms\":4.5,\"predicted_ms\":1.25}}\n\n");
const std::string kDone = chunk("data: [DONE]\n\n") + "0\r\n\r\n";
const std::string kAnswer = R"({"model":"m","usage":{"prompt_tokens":9,"completion_tokens":2,)"
                            R"("prompt_tokens_details":{"cached_tokens":7}}})";

class WhyRoutes : public GatewayTest {
 protected:
  static std::string named(const std::string& id, const std::string& more = "") {
    return post("/v1/chat/completions",
                R"({"model":"fn","messages":[{"role":"user","content":"a secret"}])" + more + "}",
                "x-client-request-id: " + id + "\r\n");
  }
  json::object told(const std::string& path) {
    const std::string answer = talk(get(path), "]}");
    EXPECT_TRUE(has(answer, "HTTP/1.1 200")) << answer;
    EXPECT_FALSE(has(answer, "secret")) << answer;
    boost::system::error_code ec;
    const std::size_t body = answer.find("\r\n\r\n");
    const json::value value = json::parse(answer.substr(body + 4), ec);
    EXPECT_TRUE(!ec && value.is_object()) << answer;
    return value.is_object() ? value.get_object() : json::object();
  }
  json::object call(const std::string& id) { return told("/v1/functions/fn/why/" + id); }
  static std::string text(const json::value& value) { return json::serialize(value); }
};

TEST_F(WhyRoutes, AnsweredCall_IsFoundByEitherIdOnBothRoutes) {
  scripts_ = {whole(kAnswer)};
  const std::string answer = talk(named("mine-1"));
  const std::string id = answer.substr(answer.find("x-request-id: ") + 14, 28);
  const json::object found = call(id);
  EXPECT_EQ(text(found.at("request")), '"' + id + '"');
  EXPECT_EQ(text(found.at("outcome")), R"("answered")");
  EXPECT_EQ(text(found.at("status")), "200");
  EXPECT_EQ(text(found.at("revision")), "3");
  EXPECT_EQ(text(found.at("start")), R"({"cold":false})");
  EXPECT_EQ(text(found.at("usage")),
            R"({"prompt_tokens":9,"cached_tokens":7,"completion_tokens":2})");
  const json::object& phases = found.at("phases_ms").as_object();
  EXPECT_TRUE(phases.contains("queue") && phases.contains("prefill"));
  EXPECT_GE(found.at("total_ms").to_number<double>(), found.at("granted_ms").to_number<double>());
  EXPECT_EQ(found, call("mine-1"));
  EXPECT_EQ(found, told("/v1/admin/why/" + id));
  EXPECT_EQ(found, told("/v1/admin/why/mine-1"));
}

TEST_F(WhyRoutes, Stream_HasTheEnginesOwnPhases) {
  scripts_ = {kStreamHead + kText + kUsage + kDone};
  talk(named("s", R"(,"stream":true)"), "0\r\n\r\n");
  const json::object found = call("s");
  EXPECT_EQ(text(found.at("stream")), "true");
  EXPECT_EQ(text(found.at("outcome")), R"("answered")");
  EXPECT_EQ(found.at("phases_ms").at("prefill").to_number<double>(), 4.5);
  EXPECT_EQ(found.at("phases_ms").at("decode").to_number<double>(), 1.25);
  EXPECT_FALSE(found.at("first_byte_ms").is_null());
  EXPECT_EQ(text(found.at("usage")),
            R"({"prompt_tokens":3,"cached_tokens":0,"completion_tokens":2})");
}

TEST_F(WhyRoutes, ColdStart_SaysTierAndBytes) {
  platform_.granting.cold = true;
  platform_.granting.tier = domain::Tier::Disk;
  platform_.granting.bytes_read = 4096;
  platform_.granting.replica = {17};
  platform_.granting.waited[domain::Phase::Load] = std::chrono::milliseconds(250);
  scripts_ = {whole(kAnswer), whole(kAnswer)};
  talk(named("cold"));
  const json::object found = call("cold");
  EXPECT_EQ(text(found.at("start")), R"({"cold":true,"tier":"disk","bytes_read":4096})");
  EXPECT_EQ(found.at("phases_ms").at("load").to_number<double>(), 250);
  EXPECT_EQ(text(found.at("replica")), "17");
  platform_.granting.bytes_read.reset();
  talk(named("silent"));
  EXPECT_EQ(text(call("silent").at("start").at("bytes_read")), "null");
}

TEST_F(WhyRoutes, BrokenStream_NamesTheError) {
  scripts_ = {kStreamHead + kText};
  break_after_ = true;
  talk(named("b", R"(,"stream":true)"), "no such text");
  connect();
  const json::object found = call("b");
  EXPECT_EQ(text(found.at("outcome")), R"("broken")");
  EXPECT_EQ(text(found.at("error")), R"("replica_failed")");
  EXPECT_EQ(text(found.at("status")), "502");
}

TEST_F(WhyRoutes, ReplicaFailsTwice_IsBrokenAfterTwoTries) {
  scripts_ = {"", ""};
  talk(named("twice"));
  const json::object found = call("twice");
  EXPECT_EQ(text(found.at("outcome")), R"("broken")");
  EXPECT_EQ(text(found.at("tries")), "2");
  EXPECT_EQ(text(found.at("error")), R"("replica_failed")");
}

TEST_F(WhyRoutes, RequestThatIsToBlame_IsBrokenToo) {
  scripts_ = {"", ""};
  platform_.poison = {2};
  talk(named("poison"));
  const json::object found = call("poison");
  EXPECT_EQ(text(found.at("outcome")), R"("broken")");
  EXPECT_EQ(text(found.at("status")), "422");
  EXPECT_EQ(text(found.at("error")), R"("poisonous_request")");
}

TEST_F(WhyRoutes, Refusals_SayTheirCode) {
  platform_.refusal = Error{"queue_full", "512 calls wait.", ""};
  talk(named("full"));
  platform_.refusal.reset();
  talk(named("bad", R"(,"temperature":"a secret")"));
  const json::object full = call("full");
  EXPECT_EQ(text(full.at("outcome")), R"("refused")");
  EXPECT_EQ(text(full.at("error")), R"("queue_full")");
  EXPECT_EQ(text(full.at("status")), "503");
  EXPECT_TRUE(full.at("start").is_null() && full.at("replica").is_null());
  const json::object bad = call("bad");
  EXPECT_EQ(text(bad.at("status")), "400");
  EXPECT_EQ(text(bad.at("outcome")), R"("refused")");
}

TEST_F(WhyRoutes, CallThatWaitsThenLeaves_IsWaitingThenCancelled) {
  platform_.hold = true;
  asio::write(*client_, asio::buffer(named("w")));
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  const auto waiting = std::move(client_);
  connect();
  EXPECT_EQ(text(call("w").at("outcome")), R"("waiting")");
  EXPECT_TRUE(call("w").at("status").is_null());
  waiting->close();
  EXPECT_TRUE(run_until([this] { return platform_.abandoned == 1; }));
  settle();
  EXPECT_EQ(text(call("w").at("outcome")), R"("cancelled")");
}

TEST_F(WhyRoutes, Invoke_IsACallToo) {
  scripts_ = {whole(R"({"choices":[{"text":" a secret"}],"usage":{"prompt_tokens":1}})")};
  talk(post("/v1/functions/fn/invoke", R"({"body":{"prompt":"a secret"}})",
            "x-client-request-id: i\r\n"));
  EXPECT_EQ(text(call("i").at("path")), R"("/v1/functions/fn/invoke")");
  EXPECT_EQ(text(call("i").at("outcome")), R"("answered")");
}

TEST_F(WhyRoutes, Decisions_AreTheFunctionsBetweenArrivalAndGrant) {
  scripts_ = {whole(kAnswer)};
  const Time before = clock_.now();
  platform_.hold = true;
  asio::write(*client_, asio::buffer(named("d")));
  EXPECT_TRUE(run_until([this] { return platform_.calls == 1; }));
  const Time meanwhile = clock_.now();
  control::Grant grant;
  grant.endpoint.socket_path = path_;
  grant.manifest = platform_.views.at("fn").manifest;
  const auto done = std::exchange(platform_.held, {});
  done(grant, 0);
  EXPECT_TRUE(run_until([this] { return platform_.finished == 1; }));
  const Time after = clock_.now();
  platform_.decided = {{before, "fn", "early", ""},
                       {meanwhile, "fn", "start", "because"},
                       {meanwhile, "other", "start", ""},
                       {after, "fn", "late", ""}};
  connect();
  const json::object found = call("d");
  const json::array& decisions = found.at("decisions").as_array();
  ASSERT_EQ(decisions.size(), 1u) << text(decisions);
  EXPECT_EQ(text(decisions.at(0).at("decision")), R"("start")");
  EXPECT_GE(decisions.at(0).at("after_ms").to_number<double>(), 0);
}

TEST_F(WhyRoutes, SaltedCall_IsNotFoundByTheCallersId) {
  scripts_ = {whole(kAnswer)};
  const std::string answer = talk(named("salted", R"(,"cache_salt":"mine")"));
  EXPECT_TRUE(has(talk(get("/v1/admin/why/salted")), "HTTP/1.1 404"));
  const json::object found = call(answer.substr(answer.find("x-request-id: ") + 14, 28));
  EXPECT_TRUE(found.at("client_request").is_null());
}

TEST_F(WhyRoutes, UnknownCallsAndNames_AreNotFound) {
  scripts_ = {whole(kAnswer)};
  talk(named("known"));
  platform_.views["other"].manifest.name = "other";
  for (const char* path :
       {"/v1/functions/fn/why/none", "/v1/functions/other/why/known", "/v1/admin/why/req_none"}) {
    const std::string answer = talk(get(path));
    EXPECT_TRUE(has(answer, "HTTP/1.1 404")) << path;
    EXPECT_TRUE(has(answer, "\"not_found\"")) << answer;
    EXPECT_TRUE(has(answer, "latest 4096 calls")) << answer;
  }
  EXPECT_TRUE(has(talk(get("/v1/functions/none/why/known")), "model_not_found"));
  EXPECT_TRUE(has(talk(get("/v1/functions/%2e%2e/why/known")), "HTTP/1.1 404"));
  EXPECT_TRUE(has(talk(get("/v1/admin/why/%00%ff%1b")), "No such call"));
  EXPECT_TRUE(has(talk(get("/v1/admin/why/" + std::string(10'000, 'a'))), "HTTP/1.1 404"));
}

TEST_F(WhyRoutes, FunctionThatIsGone_HasItsCallsStill) {
  scripts_ = {whole(kAnswer)};
  talk(named("last"));
  platform_.views.erase("fn");
  EXPECT_EQ(text(call("last").at("function")), R"("fn")");
}

}  // namespace
}  // namespace glowplug::gateway
