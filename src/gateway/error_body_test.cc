#include "gateway/error_body.h"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

namespace json = boost::json;

TEST(ErrorBody, EveryError_HasExactlyFourFields) {
  const json::value value = json::parse(error_json(to_answer(Error{"invalid_value", "no", ""})));
  const json::object& inner = value.as_object().at("error").as_object();
  EXPECT_EQ(inner.size(), 4u);
  EXPECT_EQ(inner.at("code").as_string(), "invalid_value");
  EXPECT_TRUE(inner.at("param").is_null());
}

TEST(ErrorBody, EngineErrorWithNumberAsCode_BecomesText) {
  const ErrorAnswer answer = from_engine(
      400, R"({"error":{"code":400,"message":"bad grammar","type":"invalid_request_error"}})", 128);
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.code, "invalid_value");
  EXPECT_EQ(answer.message, "bad grammar");
}

TEST(ErrorBody, EngineContextError_IsOpenAis) {
  const ErrorAnswer answer = from_engine(
      400,
      R"({"error":{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":128}})",
      128);
  EXPECT_EQ(answer.code, "context_length_exceeded");
  EXPECT_NE(answer.message.find("maximum context length is 128 tokens"), std::string::npos);
}

TEST(ErrorBody, EngineTextThatIsNotJson_StillReads) {
  EXPECT_EQ(from_engine(503, "oops", 1).status, 503);
  EXPECT_EQ(from_engine(503, "oops", 1).code, "replica_failed");
}

TEST(ErrorBody, AnthropicOverload_Is529) {
  const ErrorAnswer answer = to_answer(Error{"queue_full", "full", ""});
  EXPECT_EQ(anthropic_status(answer), 529);
  const json::value value = json::parse(anthropic_error_json(answer, "req_1"));
  EXPECT_EQ(value.at("type").as_string(), "error");
  EXPECT_EQ(value.at("error").at("type").as_string(), "overloaded_error");
  EXPECT_EQ(value.at("request_id").as_string(), "req_1");
}

}  // namespace
}  // namespace glowplug::gateway
