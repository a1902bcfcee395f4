#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/json_fields.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

const std::string kCold =
    R"({"object":"call","request":"req_a","client_request":"mine","function":"chat",
    "path":"/v1/chat/completions","stream":true,"at_ms":3661004,"outcome":"answered","status":200,
    "error":null,"tries":1,"revision":2,"replica":7,
    "start":{"cold":true,"tier":"disk","bytes_read":105500000},"granted_ms":60.5,
    "first_byte_ms":70.5,"total_ms":100.0,
    "phases_ms":{"queue":0.0,"fetch":0.0,"load":60.0,"fork":0.0,"prefill":10.0,"decode":29.0},
    "usage":{"prompt_tokens":12,"cached_tokens":8,"completion_tokens":4},
    "decisions":[{"after_ms":0.25,"decision":"start","reason":"replica 7"},
                 {"after_ms":60.4,"decision":"grant","reason":"cold from disk"}]})";

std::string anatomy(const std::string& json) { return call_anatomy(*parse_json(json)); }

TEST(CallAnatomy, ColdCall_IsToldWithItsPhasesAndDecisions) {
  EXPECT_EQ(anatomy(kCold), R"(req_a of chat: answered (200) after 100.0 ms
cold from disk, 105.5 MB read from the disk; replica 7 of revision 2
12 prompt tokens, 8 of them from kept state; 4 completion tokens; first byte after 70.5 ms
arrived 01:01:01.004 UTC at /v1/chat/completions, streamed; its caller calls it mine

PHASE      MS
load     60.0  ########################
prefill  10.0  ####
decode   29.0  ############
rest      1.0

AFTER MS  DECISION  REASON
     0.2  start     replica 7
    60.4  grant     cold from disk
)");
}

TEST(CallAnatomy, RefusedCall_SaysItsCodeAndThatNoReplicaWasThere) {
  const std::string text = anatomy(
      R"({"request":"req_b","function":"f","path":"/v1/completions","at_ms":0,"outcome":"refused",
      "status":503,"error":"queue_full","tries":0,"start":null,"total_ms":0.01,"phases_ms":{},
      "decisions":[]})");
  EXPECT_EQ(text,
            "req_b of f: refused (503 queue_full) after 0.0 ms\nno replica was granted\n"
            "arrived 00:00:00.000 UTC at /v1/completions\n");
}

TEST(CallAnatomy, RunningCallOfASilentProcess_IsTold) {
  const std::string text = anatomy(
      R"({"request":"req_c","function":"f","path":"/p","at_ms":0,"outcome":"running","status":null,
      "error":null,"tries":2,"revision":1,"replica":3,"start":{"cold":true,"tier":"disk",
      "bytes_read":null},"total_ms":null,"phases_ms":{"queue":20.0},"usage":null})");
  EXPECT_NE(text.find("req_c of f: running\n"), std::string::npos) << text;
  EXPECT_NE(text.find("does not say what it read"), std::string::npos);
  EXPECT_NE(text.find("replica 3 of revision 1, the last of 2 tried\n"), std::string::npos);
  EXPECT_EQ(text.find("rest"), std::string::npos);
}

TEST(CallAnatomy, AttemptOfAJob_NamesTheJob) {
  const std::string text = anatomy(
      R"({"request":"req_d","client_request":"job_1","job":"job_1","function":"f","path":"/p",
      "at_ms":0,"outcome":"answered","status":200,"error":null,"tries":1,"start":{"cold":false}})");
  EXPECT_NE(text.find("arrived 00:00:00.000 UTC at /p; an attempt of job_1\n"), std::string::npos)
      << text;
}

TEST(CallAnatomy, ReplyOfAnotherServer_BreaksNothing) {
  EXPECT_EQ(anatomy("{}").find("#"), std::string::npos);
  EXPECT_NE(anatomy(R"({"phases_ms":[1],"usage":3,"decisions":"x","start":7})"), "");
}

TEST(Why, IdOfTheServer_AsksForTheCallAtOnce) {
  Session session({json_answer(200, kCold)});
  EXPECT_EQ(why(session.context, {.what = "req_a"}), 0);
  EXPECT_EQ(session.out.str(), anatomy(kCold));
  EXPECT_TRUE(session.server.requests().at(0).starts_with("GET /v1/admin/why/req_a "));
}

TEST(Why, JsonOfACall_IsTheServersObject) {
  Session session({json_answer(200, kCold)}, Output::Json);
  EXPECT_EQ(why(session.context, {.what = "req_a"}), 0);
  EXPECT_EQ(*parse_json(session.out.str()), *parse_json(kCold));
}

TEST(Why, FunctionsName_ListsItsDecisions) {
  Session session({json_answer(200, R"({"function":"chat"})"), json_answer(200, R"({"data":[]})")});
  EXPECT_EQ(why(session.context, {.what = "chat"}), 0);
  EXPECT_EQ(session.out.str(), "no decisions about chat yet\n");
  EXPECT_TRUE(
      session.server.requests().at(1).starts_with("GET /v1/admin/decisions?function=chat "));
}

TEST(Why, AnythingElse_IsACallersIdAndMayBeUnknown) {
  const std::string unknown =
      R"({"error":{"message":"No call `a/b` is kept","type":"t","param":null,"code":"not_found"}})";
  Session session({json_answer(404, unknown), json_answer(404, unknown)});
  EXPECT_EQ(why(session.context, {.what = "a/b"}), 3);
  EXPECT_TRUE(session.server.requests().at(1).starts_with("GET /v1/admin/why/a%2Fb "));
  EXPECT_NE(session.err.str().find("No call `a/b` is kept"), std::string::npos);
}

}  // namespace
}  // namespace glowplug::cli
