// Checkpoints and traffic over HTTP: what is read from a request, and what is refused at the edge.
#include <gmock/gmock.h>

#include "gateway/routes.h"
#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

using ::testing::ElementsAre;

class CheckpointRoutes : public GatewayTest {
 protected:
  static std::string put(const std::string& path, const std::string& body) {
    return "PUT " + path + " HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" +
           "content-length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static std::string drop(const std::string& path) {
    return "DELETE " + path + " HTTP/1.1\r\nhost: localhost\r\n\r\n";
  }
  std::vector<std::string>& asked() { return platform_.saved.asked; }

  const std::string at_ = "/v1/functions/fn";
};

TEST_F(CheckpointRoutes, List_ShowsDigestWeightAndDamage) {
  control::CheckpointView good{.step = 10, .revision = 3, .weight = 90};
  good.manifest.model = "smollm2";
  good.manifest.model_sha256 = "abc";
  good.prompts = {{"def", 12}};
  good.created = WallTime(std::chrono::milliseconds(1'700'000'000'999));
  platform_.saved.views = {good, {.step = 20, .revision = 4, .damage = "its checksum"}};
  const std::string answer = talk(get(at_ + "/checkpoints"), "its checksum\"}]}");
  EXPECT_TRUE(has(answer, R"("id":"checkpoint-10","function":"fn","step":10,"revision":3)"))
      << answer;
  EXPECT_TRUE(has(answer, R"("created_at":1700000000,"active":true,"weight":90,"verified":true)"));
  EXPECT_TRUE(has(answer, R"("model":{"source":"smollm2","sha256":"abc"},"adapters":[])"));
  EXPECT_TRUE(has(answer, R"("prompts":[{"sha256":"def","bytes":12}])"));
  EXPECT_TRUE(has(answer, R"("verified":false,"state":"damaged","reason":"its checksum")"));
}

TEST_F(CheckpointRoutes, Save_TakesAStepOrTheNext) {
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints", R"({"step":7})"), "]}"), "checkpoint-7"));
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints", "{}"), "]}"), "200 OK"));
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints", ""), "]}"), "checkpoint-10"));
  EXPECT_THAT(asked(), ElementsAre("save 7", "save next", "save next"));
}

TEST_F(CheckpointRoutes, Save_RefusesOddBodies) {
  for (const auto& [body, param] :
       std::vector<std::pair<std::string, std::string>>{{R"({"step":0})", "step"},
                                                        {R"({"step":-1})", "step"},
                                                        {R"({"step":1.5})", "step"},
                                                        {R"({"step":"10"})", "step"},
                                                        {R"({"step":1000000001})", "step"},
                                                        {R"({"stpe":10})", "stpe"}}) {
    const std::string answer = talk(post(at_ + "/checkpoints", body));
    EXPECT_TRUE(has(answer, "400 Bad Request")) << body << answer;
    EXPECT_TRUE(has(answer, "\"param\":\"" + param + "\"")) << body << answer;
  }
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints", "[10]")), "400 Bad Request"));
  EXPECT_TRUE(asked().empty());
}

TEST_F(CheckpointRoutes, ActivateDropAndRollback_TakeStepOrName) {
  const std::string activated = talk(post(at_ + "/checkpoints/10/activate", ""), "]}");
  EXPECT_TRUE(has(activated, R"({"revision":3,"weight":90,"checkpoint":"checkpoint-10"})"));
  EXPECT_TRUE(has(activated, R"({"revision":4,"weight":10,"checkpoint":null})"));
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints/checkpoint-20/activate", "{}"), "]}"), "200 OK"));
  EXPECT_TRUE(has(talk(drop(at_ + "/checkpoints/30"), "\r\n\r\n"), "204"));
  EXPECT_TRUE(has(talk(post(at_ + "/rollback", ""), "]}"), "200 OK"));
  EXPECT_THAT(asked(), ElementsAre("activate 10", "activate 20", "remove 30", "roll back"));
}

TEST_F(CheckpointRoutes, WhatIsNoStep_Is404) {
  for (const char* step : {"0", "x", "010", "1e3", "%2e%2e", "99999999999", "checkpoint-"}) {
    const std::string answer =
        talk(post(at_ + "/checkpoints/" + std::string(step) + "/activate", ""));
    EXPECT_TRUE(has(answer, "404 Not Found")) << step << answer;
    EXPECT_TRUE(has(answer, R"("code":"not_found")")) << step;
  }
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints//activate", "")), "no route"));
  EXPECT_TRUE(has(talk(post(at_ + "/checkpoints/10/x/activate", "")), "no route"));
  EXPECT_TRUE(asked().empty());
}

TEST_F(CheckpointRoutes, Traffic_TakesNamesAndSteps) {
  EXPECT_TRUE(has(talk(put(at_ + "/traffic", R"({"checkpoint-10":90,"20":10})"), "]}"), "200 OK"));
  EXPECT_TRUE(has(talk(put(at_ + "/traffic", R"({"10":100,"20":0})"), "]}"), "200 OK"));
  EXPECT_THAT(asked(), ElementsAre("traffic 10=90 20=10", "traffic 10=100 20=0"));
}

TEST_F(CheckpointRoutes, WrongWeights_AreNamed) {
  struct Case {
    std::string body, param, part;
  };
  for (const Case& one : std::vector<Case>{
           {R"({"10":90,"20":20})", "traffic", "sum to 110 (checkpoint-10: 90, checkpoint-20: 20)"},
           {"{}", "traffic", "sum to 0"},
           {"", "traffic", "sum to 0"},
           {R"({"10":110,"20":-10})", "checkpoint-10", "110"},
           {R"({"10":"90","20":10})", "10", "whole number"},
           {R"({"10":89.5,"20":10.5})", "10", "whole number"},
           {R"({"10":1e30})", "10", "whole number"},
           {R"({"10":null})", "10", "whole number"},
           {R"({"10":50,"checkpoint-10":50})", "checkpoint-10", "named twice"},
           {R"({"chat":100})", "chat", "is no checkpoint"},
           {R"({"0":100})", "0", "is no checkpoint"}}) {
    const std::string answer = talk(put(at_ + "/traffic", one.body));
    EXPECT_TRUE(has(answer, "400 Bad Request")) << one.body << answer;
    EXPECT_TRUE(has(answer, "\"param\":\"" + one.param + "\"")) << one.body << answer;
    EXPECT_TRUE(has(answer, one.part)) << one.body << answer;
    EXPECT_TRUE(has(answer, R"("code":"invalid_value")")) << one.body;
  }
  EXPECT_TRUE(has(talk(put(at_ + "/traffic", "[]")), "400 Bad Request"));
  EXPECT_TRUE(asked().empty());
}

TEST_F(CheckpointRoutes, PlatformsRefusals_ArePassedOn) {
  platform_.saved.refusal = Error{"checkpoint_conflict", "It exists.", "step"};
  for (const std::string& request :
       {post(at_ + "/checkpoints", "{}"), post(at_ + "/checkpoints/10/activate", ""),
        drop(at_ + "/checkpoints/10"), put(at_ + "/traffic", R"({"10":100})"),
        post(at_ + "/rollback", "")})
    EXPECT_TRUE(has(talk(request), "409 Conflict")) << request;
}

TEST_F(CheckpointRoutes, UnknownFunctionAndOddNames_Are404) {
  for (const std::string name : {"none", "Odd_Name", "..%2f", "%00"}) {
    const std::string at = "/v1/functions/" + name;
    for (const std::string& request :
         {post(at + "/checkpoints", "{}"), post(at + "/checkpoints/10/activate", ""),
          drop(at + "/checkpoints/x"), put(at + "/traffic", "{}"), post(at + "/rollback", "")})
      EXPECT_TRUE(has(talk(request), "404 Not Found")) << request;
  }
  EXPECT_TRUE(asked().empty());
}

TEST_F(CheckpointRoutes, WrongMethod_NamesTheRightOnes) {
  const std::string answer = talk(put(at_ + "/checkpoints", "{}"));
  EXPECT_TRUE(has(answer, "405")) << answer;
  EXPECT_TRUE(has(answer, "allow: GET, HEAD, POST, OPTIONS")) << answer;
  EXPECT_TRUE(has(talk(get(at_ + "/traffic")), "allow: PUT, OPTIONS"));
}

TEST(Routes, Placeholders_TakeOneSegmentEach) {
  const RouteMatch both =
      find_route("POST", "/v1/functions/a%2Db/checkpoints/10/activate", Side::Main);
  ASSERT_TRUE(both.route);
  EXPECT_EQ(both.name, "a-b");
  EXPECT_EQ(both.item, "10");
  EXPECT_FALSE(find_route("GET", "/v1/functions/a/b/checkpoints", Side::Main).route);
  EXPECT_FALSE(find_route("GET", "/v1/functions/", Side::Main).route);
  EXPECT_FALSE(find_route("GET", "/v1/functions/a/", Side::Main).route);
  EXPECT_TRUE(find_route("GET", "/v1/functions", Side::Main).route);
  EXPECT_FALSE(find_route("GET", "v1/functions", Side::Main).route);
}

}  // namespace
}  // namespace glowplug::gateway
