// The estimate over a real socket: what it answers to the letter, and what it says of bad input.
#include "gateway/test_gateway.h"

namespace glowplug::gateway {
namespace {

class CostRouteTest : public GatewayTest {
 protected:
  std::string ask(const std::string& body) { return talk(post("/v1/admin/cost/estimate", body)); }
  static std::string asked(const std::string& requests, const std::string& seconds,
                           const std::string& more = "") {
    return R"({"gpu":"A10G","requests_per_day":)" + requests + R"(,"seconds":)" + seconds + more +
           "}";
  }
};

TEST_F(CostRouteTest, Estimate_IsExactInDecimalsAndInMicroUnits) {
  const std::string answer = ask(asked("20000", "1.2"));
  EXPECT_TRUE(has(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(has(
      answer,
      "\r\n\r\n"
      R"({"object":"cost_estimate","gpu":"A10G","count":1,"requests_per_day":20000,"seconds":1.2,)"
      R"("per_hour":1.000000,"per_request":0.000200,)"
      R"("daily_request_cost":4.000000,"daily_compute_cost":6.666667,"total_daily_cost":10.666667,)"
      R"("micros":{"per_hour":1000000,"per_request":200,)"
      R"("daily_request_cost":4000000,"daily_compute_cost":6666667,"total_daily_cost":10666667}})"))
      << answer;
}

TEST_F(CostRouteTest, CountAndWaysToWriteNumbers) {
  EXPECT_TRUE(has(ask(asked("2e4", "12E-1", R"(,"count":2.0)")),
                  R"("count":2,"requests_per_day":20000,"seconds":1.2)"));
  EXPECT_TRUE(has(ask(asked("0", "0", R"(,"count":null)")), R"("total_daily_cost":0.000000)"));
  EXPECT_TRUE(has(ask(R"({"gpu":"cpu","requests_per_day":1,"seconds":86400})"),
                  R"("gpu":"CPU","count":1,"requests_per_day":1,"seconds":86400,)"));
  // Fractions are read to the nearest nanosecond.
  EXPECT_TRUE(has(ask(asked("1000000000000", "0.0000000014")), R"("daily_compute_cost":0.277778)"));
  EXPECT_TRUE(has(ask(asked("1000000000000", "0.0000000016")), R"("daily_compute_cost":0.555556)"));
}

TEST_F(CostRouteTest, AmountThatADoubleDoesNotHold_IsWrittenExactly) {
  const std::string answer = ask(asked("999999999", "86399.999999999", R"(,"count":380)"));
  EXPECT_TRUE(has(answer, R"("daily_request_cost":199999.999800)")) << answer;
  EXPECT_TRUE(has(answer, R"("daily_compute_cost":9119999990879.894444)")) << answer;
}

TEST_F(CostRouteTest, BadInput_Is400WithTheFieldAndTheFix) {
  struct Case {
    std::string body, code, param, message;
  };
  const std::string gpu = R"({"gpu":"T4")", requests = R"(,"requests_per_day":1)";
  for (const Case& one : std::vector<Case>{
           {"", "invalid_json", "null", ""},
           {"[]", "invalid_json", "null", ""},
           {"{}", "missing_field", "gpu", "`gpu` is missing; name a device, as"},
           {gpu + "}", "missing_field", "requests_per_day",
            "`requests_per_day` is missing; say how many come in a day, as 20000."},
           {gpu + requests + "}", "missing_field", "seconds", "`seconds` is missing; say how long"},
           {gpu + requests + R"(,"seconds":null})", "missing_field", "seconds", "is missing"},
           {R"({"gpu":"H100","requests_per_day":1,"seconds":1})", "invalid_value", "gpu",
            "has no price; those with a price are T4, A10G, A100, CPU."},
           {R"({"gpu":4,"requests_per_day":1,"seconds":1})", "invalid_value", "gpu",
            "must be a string"},
           {asked("-1", "1"), "invalid_value", "requests_per_day",
            "is -1; it must lie between 0 and 1000000000000."},
           {asked("1000000000001", "1"), "invalid_value", "requests_per_day", "must lie between"},
           {asked("99999999999999999999", "1"), "invalid_value", "requests_per_day", ""},
           {asked("1e300", "1"), "invalid_value", "requests_per_day", "must be a whole number"},
           {asked("1.5", "1"), "invalid_value", "requests_per_day", "must be a whole number"},
           {asked("\"5\"", "1"), "invalid_value", "requests_per_day", "must be a whole number"},
           {asked("1", "-0.1"), "invalid_value", "seconds",
            "is -0.1; it must lie between 0 and 86400."},
           {asked("1", "86400.1"), "invalid_value", "seconds", "must lie between 0 and 86400."},
           {asked("1", "1e999"), "invalid_", "", ""},
           {asked("1", "true"), "invalid_value", "seconds", "must be a number"},
           {asked("1", "1", R"(,"count":0)"), "invalid_value", "count",
            "is 0; it must lie between 1 and 1000."},
           {asked("1", "1", R"(,"count":1001)"), "invalid_value", "count", "must lie between"},
           {asked("1", "1", R"(,"region":"eu")"), "invalid_value", "region",
            "is unknown; known are gpu, requests_per_day, seconds and count."},
           {asked("1000000000000", "86400", R"(,"count":1000)"), "invalid_value",
            "requests_per_day", "lower one of them"}}) {
    const std::string answer = ask(one.body);
    EXPECT_TRUE(has(answer, "HTTP/1.1 400 ")) << one.body << "\n" << answer;
    EXPECT_TRUE(has(answer, R"("code":")" + one.code)) << one.body << "\n" << answer;
    EXPECT_TRUE(has(answer, one.message)) << one.body << "\n" << answer;
    const std::string param = one.param == "null" ? "null" : "\"" + one.param;
    EXPECT_TRUE(one.param.empty() || has(answer, "\"param\":" + param)) << answer;
  }
}

TEST_F(CostRouteTest, OtherMethod_Is405) {
  EXPECT_TRUE(has(talk(get("/v1/admin/cost/estimate")), "405 "));
}

}  // namespace
}  // namespace glowplug::gateway
