#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

const std::string kEndpoints =
    R"({"object":"list","data":[)"
    R"({"id":"jobs","url":null,"event_types":["job.completed"],"enabled":true,"created_at":0},)"
    R"({"id":"we_1","url":"https://h.example/x","event_types":["job.completed","job.failed"],)"
    R"("enabled":false,"disabled_reason":"it answered 410: it is gone for good","created_at":60}]})";

const std::string kDeliveries =
    R"({"object":"list","data":[)"
    R"({"id":"whd_2","type":"job.failed","event_id":"evt_2","status":"pending","attempts":1,)"
    R"("next_attempt_seconds":5,"last_error":"it answered 500","created_at":61},)"
    R"({"id":"whd_1","type":"job.completed","event_id":"evt_1","status":"delivered","attempts":2,)"
    R"("next_attempt_seconds":null,"last_error":null,"created_at":60}]})";

const std::string kMade = R"({"id":"we_1","signing_secret":"whsec_abc"})";

TEST(Webhooks, Endpoints_ShowWhyOneIsDisabled) {
  Session session({json_answer(200, kEndpoints)});
  EXPECT_EQ(webhooks(session.context, {}), 0);
  EXPECT_TRUE(session.server.requests().at(0).starts_with("GET /v1/webhook-endpoints "));
  EXPECT_EQ(session.out.str(),
            "ENDPOINT  URL                     STATE     CREATED (UTC)        EVENTS\n"
            "jobs      (as each job names it)  enabled   1970-01-01 00:00:00  job.completed\n"
            "we_1      https://h.example/x     disabled  1970-01-01 00:01:00  "
            "job.completed,job.failed\n"
            "\n"
            "we_1: it answered 410: it is gone for good\n");
}

TEST(Webhooks, Deliveries_ShowWhatFailedAndWhenItIsTriedAgain) {
  Session session({json_answer(200, kDeliveries)});
  EXPECT_EQ(webhooks(session.context,
                     {.verb = "deliveries", .what = "we_1", .status = "dead", .limit = 7}),
            0);
  EXPECT_TRUE(session.server.requests().at(0).starts_with(
      "GET /v1/webhook-endpoints/we_1/deliveries?limit=7&status=dead "));
  EXPECT_EQ(session.out.str(),
            "DELIVERY  TYPE           EVENT  STATUS     TRIES  NEXT IN  CREATED (UTC)        LAST "
            "FAILURE\n"
            "whd_2     job.failed     evt_2  pending        1      5 s  1970-01-01 00:01:01  it "
            "answered 500\n"
            "whd_1     job.completed  evt_1  delivered      2        -  1970-01-01 00:01:00  -\n");
}

TEST(Webhooks, Add_PrintsTheSecretOnceOnStdout) {
  Session session({json_answer(201, kMade)});
  EXPECT_EQ(webhooks(session.context, {.verb = "add",
                                       .what = "https://h.example/x",
                                       .events = "job.completed,job.failed"}),
            0);
  const std::string request = session.server.requests().at(0);
  EXPECT_TRUE(request.starts_with("POST /v1/webhook-endpoints "));
  EXPECT_NE(
      request.find(R"({"url":"https://h.example/x","event_types":["job.completed","job.failed"]})"),
      std::string::npos);
  EXPECT_EQ(session.out.str(), "we_1  whsec_abc\n");
  EXPECT_NE(session.err.str().find("shown this once"), std::string::npos);
}

TEST(Webhooks, OtherVerbs_AskTheirRoute) {
  struct Case {
    WebhooksOptions options;
    std::string request, body, answer;
  };
  for (const Case& one : std::vector<Case>{{{.verb = "rotate", .what = "we_1", .grace = "1h"},
                                            "POST /v1/webhook-endpoints/we_1/rotate-secret ",
                                            R"({"grace_period":"1h"})",
                                            json_answer(200, kMade)},
                                           {{.verb = "replay", .what = "whd_3"},
                                            "POST /v1/webhook-endpoints/deliveries/whd_3/replay ",
                                            "{}",
                                            json_answer(202, "{}")},
                                           {{.verb = "enable", .what = "a/b"},
                                            "POST /v1/webhook-endpoints/a%2Fb/enable ",
                                            "{}",
                                            json_answer(200, "{}")},
                                           {{.verb = "test", .what = "we_1"},
                                            "POST /v1/webhook-endpoints/we_1/test ",
                                            "{}",
                                            json_answer(202, "{}")},
                                           {{.verb = "rm", .what = "we_1"},
                                            "DELETE /v1/webhook-endpoints/we_1 ",
                                            "",
                                            "HTTP/1.1 204 No Content\r\n\r\n"}}) {
    Session session({one.answer});
    EXPECT_EQ(webhooks(session.context, one.options), 0) << one.request;
    const std::string request = session.server.requests().at(0);
    EXPECT_TRUE(request.starts_with(one.request)) << request;
    EXPECT_TRUE(request.ends_with("\r\n\r\n" + one.body)) << request;
  }
}

TEST(Webhooks, Json_ParsesAlsoWhereTheAnswerHasNoBody) {
  Session session({"HTTP/1.1 204 No Content\r\n\r\n"}, Output::Json);
  EXPECT_EQ(webhooks(session.context, {.verb = "rm", .what = "we_1"}), 0);
  EXPECT_EQ(session.out.str(), "{\"done\":true}\n");
}

TEST(Webhooks, UnknownEndpoint_IsExit3) {
  Session session({json_answer(404, R"({"error":{"message":"no","type":"t","param":null,)"
                                    R"("code":"not_found"}})")});
  EXPECT_EQ(webhooks(session.context, {.verb = "rotate", .what = "we_9"}), 3);
}

}  // namespace
}  // namespace glowplug::cli
