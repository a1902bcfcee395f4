#include "gateway/call_log.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

CallRecord record(const std::string& request, const std::string& client = "") {
  CallRecord made;
  made.request = request;
  made.client_request = client;
  return made;
}

TEST(CallLog, Calls_AreFoundByEitherIdAndChangedByTheServersOwn) {
  CallLog log;
  log.begin(record("req_a", "mine"));
  log.find("req_a")->status = 200;
  EXPECT_EQ(log.look_up("req_a")->status, 200);
  EXPECT_EQ(log.look_up("mine"), log.look_up("req_a"));
  EXPECT_EQ(log.find("mine"), nullptr);
  EXPECT_EQ(log.look_up("other"), nullptr);
  EXPECT_EQ(log.look_up(""), nullptr);
}

TEST(CallLog, FullRing_ForgetsTheOldestOnly) {
  CallLog log(2);
  for (const char* id : {"req_a", "req_b", "req_c"}) log.begin(record(id, std::string("c") + id));
  EXPECT_EQ(log.size(), 2u);
  EXPECT_EQ(log.find("req_a"), nullptr);
  EXPECT_EQ(log.look_up("creq_a"), nullptr);
  EXPECT_EQ(log.look_up("req_b")->request, "req_b");
  EXPECT_EQ(log.look_up("creq_c")->request, "req_c");
}

TEST(CallLog, CallersIdThatComesTwice_IsTheLaterCalls) {
  CallLog log(2);
  log.begin(record("req_a", "same"));
  log.begin(record("req_b", "same"));
  EXPECT_EQ(log.look_up("same")->request, "req_b");
  log.begin(record("req_c"));
  EXPECT_EQ(log.look_up("same")->request, "req_b") << "the first one's end is not the second's";
  log.begin(record("req_d"));
  EXPECT_EQ(log.look_up("same"), nullptr);
}

TEST(CallLog, CallersIdOfTwoFunctions_IsFoundInEither) {
  CallLog log;
  for (const char* function : {"one", "two"}) {
    CallRecord made = record(std::string("req_") + function, "same");
    made.function = function;
    log.begin(std::move(made));
  }
  EXPECT_EQ(log.look_up("same", "one")->request, "req_one");
  EXPECT_EQ(log.look_up("same", "two")->request, "req_two");
  EXPECT_EQ(log.look_up("req_one", "two"), nullptr);
  EXPECT_EQ(log.look_up("same")->request, "req_two");
}

TEST(CallLog, CallersIdLikeTheServers_HidesNoCall) {
  CallLog log;
  log.begin(record("req_a"));
  log.begin(record("req_b", "req_a"));
  EXPECT_EQ(log.look_up("req_a")->request, "req_a");
}

TEST(UsableRequestId, OnlyBoundedPrintableText) {
  EXPECT_EQ(usable_request_id("0f8f-7a.B~"), "0f8f-7a.B~");
  EXPECT_EQ(usable_request_id(std::string(domain::kClientRequestIdBytesMax, 'x')).size(),
            domain::kClientRequestIdBytesMax);
  for (const std::string& odd :
       {std::string(domain::kClientRequestIdBytesMax + 1, 'x'), std::string("a b"),
        std::string("a\0b", 3), std::string("\x1b[2J"), std::string("caf\xc3\xa9")})
    EXPECT_EQ(usable_request_id(odd), "") << odd;
}

}  // namespace
}  // namespace glowplug::gateway
