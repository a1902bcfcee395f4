#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/test_session.h"

namespace glowplug::cli {
namespace {

const std::string kByFunction =
    R"({"object":"usage","data":[{"function":"chat","requests":3,"cost_micros":1500,)"
    R"("platform_micros":20,"prompt_tokens":30,"cached_tokens":10,"completion_tokens":60,)"
    R"("device_ms":4500}],"total":{"requests":3,"cost_micros":1500,"platform_micros":20,)"
    R"("prompt_tokens":30,"cached_tokens":10,"completion_tokens":60,"device_ms":4500},)"
    R"("devices":[{"device":"CPU","wall_seconds":100.0,"idle_seconds":95.5,)"
    R"("micros":{"wall":1388,"callers":1200,"platform":20,"running":0,"idle":168}}]})";
const std::string kByDay =
    R"({"data":[{"day":"1970-01-01","cost_micros":1500},{"day":"1969-12-30","cost_micros":100}]})";

TEST(Usage, Text_HasSumsThePictureOfTheDaysAndWhatDevicesDid) {
  Session session({json_answer(200, kByFunction), json_answer(200, kByDay)});
  EXPECT_EQ(usage(session.context, {.since = std::chrono::days(3)}), 0);
  EXPECT_TRUE(session.server.requests().at(0).starts_with(
      "GET /v1/admin/usage?group_by=function&from=1969-12-29 "))
      << session.server.requests().at(0);
  EXPECT_EQ(session.out.str(),
            "FUNCTION  CALLS      COST  PLATFORM  PROMPT  CACHED  COMPLETION  DEVICE S\n"
            "chat          3  0.001500  0.000020      30      10          60       4.5\n"
            "total         3  0.001500  0.000020      30      10          60       4.5\n"
            "cost by day  | ▁ █|  1969-12-29 to 1970-01-01, 0.001500 at most\n"
            "CPU: 95.5 % of its 0.001388 idle since the server began; callers 0.001200, platform "
            "0.000020\n");
}

TEST(Usage, Csv_IsTheServersToTheLetter) {
  Session session({json_answer(200, "day,requests\r\n1970-01-01,3\r\n")});
  EXPECT_EQ(usage(session.context, {.by = "day", .csv = true}), 0);
  EXPECT_NE(session.server.requests().at(0).find("&format=csv "), std::string::npos);
  EXPECT_EQ(session.out.str(), "day,requests\r\n1970-01-01,3\r\n");
}

TEST(Usage, Json_IsOneAnswer) {
  Session session({json_answer(200, kByFunction)}, Output::Json);
  EXPECT_EQ(usage(session.context, {.by = "function,key"}), 0);
  EXPECT_NE(session.server.requests().at(0).find("group_by=function%2Ckey&"), std::string::npos);
  EXPECT_TRUE(session.out.str().starts_with(R"({"object":"usage")"));
}

TEST(Usage, AnswerOfAnotherServer_IsNoCrash) {
  Session session({json_answer(200, "{}"), json_answer(200, "[]")});
  EXPECT_EQ(usage(session.context, {}), 0);
  EXPECT_EQ(receipt_table(boost::json::value()).find("RECEIPT"), 1U);
}

TEST(Usage, Receipt_SaysWhatEachLineIsFor) {
  const boost::json::value receipt = boost::json::parse(
      R"({"devices":[{"device":"CPU","per_hour_micros":50000,"seconds":0.0720,"cost_micros":1}],)"
      R"("fee":{"device":"CPU","cost_micros":10},"cost_micros":11,"platform_micros":2,)"
      R"("terminal":"completed","byte_seconds":1000000,"idle_byte_seconds":2000000})");
  EXPECT_EQ(receipt_table(receipt),
            "\n"
            "RECEIPT       COST  FOR\n"
            "CPU       0.000001  0.072000 s at 0.050000 an hour\n"
            "request   0.000010  fee of CPU\n"
            "total     0.000011  completed\n"
            "platform  0.000002  not its caller's to pay\n"
            "memory    1.0 MB·s  held for it; idle before it 2.0 MB·s\n");
}

}  // namespace
}  // namespace glowplug::cli
