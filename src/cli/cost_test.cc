#include <chrono>

#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

using namespace std::chrono_literals;

// As the server writes it; the amounts are larger than a double holds to the micro-unit.
const std::string kEstimate =
    R"({"object":"cost_estimate","gpu":"A10G","count":1,"requests_per_day":20000,"seconds":1.2,)"
    R"("per_hour":1.000000,"per_request":0.000200,)"
    R"("daily_request_cost":9007199254.740993,"daily_compute_cost":6.666667,)"
    R"("total_daily_cost":9007199261.407660,"micros":{"per_hour":1000000,"per_request":200,)"
    R"("daily_request_cost":9007199254740993,"daily_compute_cost":6666667,)"
    R"("total_daily_cost":9007199261407660}})";

const CostOptions kAsked{.gpu = "A10G", .requests_per_day = 20'000, .mean_time = 1200ms};

TEST(Cost, Estimate_AsksForWhatItIsGiven) {
  Session session({json_answer(200, kEstimate)});
  EXPECT_EQ(estimate_cost(session.context, kAsked), 0);
  const std::string request = session.server.requests().at(0);
  EXPECT_TRUE(request.starts_with("POST /v1/admin/cost/estimate ")) << request;
  EXPECT_TRUE(
      request.ends_with(R"({"gpu":"A10G","requests_per_day":20000,"seconds":1.2E0,"count":1})"))
      << request;
}

TEST(Cost, Text_SaysHowTheAmountsCome) {
  Session one({json_answer(200, kEstimate)});
  EXPECT_EQ(estimate_cost(one.context, kAsked), 0);
  EXPECT_EQ(one.out.str(),
            "A10G                  A DAY  FROM\n"
            "requests  9007199254.740993  20000 × 0.000200\n"
            "compute            6.666667  20000 × 1.2 s at 1.000000 an hour\n"
            "total     9007199261.407660\n");
  Session two({json_answer(200, kEstimate)});
  CostOptions asked = kAsked;
  asked.count = 2;
  EXPECT_EQ(estimate_cost(two.context, asked), 0);
  EXPECT_NE(two.out.str().find("20000 × 1.2 s × 2 at 1.000000 an hour\n"), std::string::npos);
}

TEST(Cost, Json_IsTheServersToTheLetter) {
  Session session({json_answer(200, kEstimate)}, Output::Json);
  EXPECT_EQ(estimate_cost(session.context, kAsked), 0);
  EXPECT_EQ(session.out.str(), kEstimate + "\n");
}

TEST(Cost, AnswerOfAnotherServer_IsNoCrash) {
  Session empty({json_answer(200, "{}")});
  EXPECT_EQ(estimate_cost(empty.context, kAsked), 0);
  Session garbled({json_answer(200, "<html>")});
  EXPECT_EQ(estimate_cost(garbled.context, kAsked), 1);
}

TEST(Cost, Refusal_IsTheServersWords) {
  Session session({json_answer(
      400, R"({"error":{"message":"no price","type":"t","param":"gpu","code":"invalid_value"}})")});
  EXPECT_EQ(estimate_cost(session.context, kAsked), 1);
  EXPECT_NE(session.err.str().find("no price"), std::string::npos);
}

}  // namespace
}  // namespace glowplug::cli
