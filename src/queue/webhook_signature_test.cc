#include "queue/webhook_signature.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace glowplug::queue {
namespace {

// Of the reference libraries of the Standard Webhooks specification.
const std::string kSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const std::string kId = "msg_p5jXN8AQM9LWM0D4loKWxJek";
constexpr std::int64_t kTimestamp = 1614265330;
const std::string kBody = R"({"test": 2432232314})";
const std::string kSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

const std::string kLongSecret =  // the bytes 0 to 63
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+"
    "Pw==";

std::string sign(std::vector<std::string> secrets, const std::string& id = kId,
                 std::int64_t timestamp = kTimestamp, const std::string& body = kBody) {
  const Result<std::string> made = webhook_signature(secrets, id, timestamp, body);
  return made ? *made : made.error().code;
}

TEST(WebhookSignature, IsTheSpecifications) {
  EXPECT_EQ(sign({kSecret}), kSignature);
  EXPECT_EQ(sign({kLongSecret}), "v1,LZ5zuwHTqQH3VM8ERUusjzVQq1FXzemvpR8Mk7Ivp5c=");
}

TEST(WebhookSignature, TwoSecrets_SignBoth) {
  EXPECT_EQ(sign({kSecret, kLongSecret}), sign({kSecret}) + " " + sign({kLongSecret}));
}

TEST(WebhookSignature, ChangesWithIdTimeAndBody) {
  EXPECT_NE(sign({kSecret}, "msg_2"), kSignature);
  EXPECT_NE(sign({kSecret}, kId, kTimestamp + 1), kSignature);
  EXPECT_NE(sign({kSecret}, kId, kTimestamp, kBody + " "), kSignature);
}

TEST(WebhookSignature, WhatIsNoSecret_IsRefused) {
  for (const char* secret :
       {"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_!fKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "whsec_===================================="})
    EXPECT_EQ(sign({secret}), "invalid_value") << secret;
  // 64 bytes are one, 65 none.
  EXPECT_TRUE(sign({"whsec_" + std::string(86, 'A') + "=="}).starts_with("v1,"));
  EXPECT_EQ(sign({"whsec_" + std::string(87, 'A') + "="}), "invalid_value");
  EXPECT_EQ(sign({kSecret, "whsec_"}), "invalid_value");
}

TEST(WebhookSignature, NewSecretsAndIds_AreUsableAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string secret = new_webhook_secret();
    EXPECT_TRUE(sign({secret}).starts_with("v1,")) << secret;
    seen.insert(secret);
    const std::string id = new_webhook_id("evt_");
    EXPECT_EQ(id.size(), 28U);
    EXPECT_TRUE(id.starts_with("evt_"));
    seen.insert(id);
  }
  EXPECT_EQ(seen.size(), 200U);
}

}  // namespace
}  // namespace glowplug::queue
