#include "queue/webhook_sender.h"

#include <vector>

#include <gtest/gtest.h>

#include "queue/webhook_signature.h"

namespace glowplug::queue {
namespace {

using storage::WebhookState;

const std::string kNew = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const std::string kOld = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

storage::WebhookEndpoint endpoint() {
  return {.id = "we_1",
          .url = "https://h.example/",
          .events = {},
          .secret = kNew,
          .old_secret = kOld,
          .old_until_ms = 1'000,
          .disabled = {}};
}

storage::WebhookDelivery delivery() {
  return {.id = 7,
          .endpoint = "we_1",
          .url = {},
          .event_id = "evt_1",
          .type = "job.completed",
          .payload = R"({"id":"evt_1"})",
          .last_error = {}};
}

std::string signed_by(const std::vector<std::string>& secrets, std::int64_t unix_s) {
  return "webhook-signature: " + *webhook_signature(secrets, "evt_1", unix_s, delivery().payload);
}

TEST(WebhookSender, Request_IsSignedForThisAttempt) {
  const auto request = webhook_request(endpoint(), delivery(), {.queue_ms = 1'000, .unix_s = 99});
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->url, "https://h.example/");
  EXPECT_EQ(request->body, delivery().payload);
  EXPECT_EQ(request->headers,
            (std::vector<std::string>{"content-type: application/json", "webhook-id: evt_1",
                                      "webhook-timestamp: 99", signed_by({kNew}, 99)}));
}

TEST(WebhookSender, BothSecretsSign_UntilTheOldOneEnds) {
  const auto signature = [](std::int64_t queue_ms) {
    return webhook_request(endpoint(), delivery(), {.queue_ms = queue_ms, .unix_s = 99})
        ->headers.back();
  };
  EXPECT_EQ(signature(999), signed_by({kNew, kOld}, 99));
  EXPECT_EQ(signature(1'000), signed_by({kNew}, 99));
}

TEST(WebhookSender, JobsOwnAddress_IsWhereItGoes) {
  storage::WebhookDelivery row = delivery();
  row.url = "https://job.example/";
  EXPECT_EQ(webhook_request(endpoint(), row, {})->url, "https://job.example/");
}

TEST(WebhookSender, TraceOfItsCall_GoesWithIt) {
  storage::WebhookDelivery row = delivery();
  row.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const auto request = webhook_request(endpoint(), row, {.queue_ms = 1'000, .unix_s = 99});
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->headers.back(), "traceparent: " + row.traceparent);
  EXPECT_EQ(request->headers.size(), 5U);
}

TEST(WebhookSender, SecretThatIsNone_IsAnError) {
  storage::WebhookEndpoint broken = endpoint();
  broken.secret = "x";
  EXPECT_FALSE(webhook_request(broken, delivery(), {}).ok());
}

TEST(WebhookSender, Outcome_IsTheRowAsItIsNow) {
  const auto after = [](const models::PostReply& reply, int attempts = 0) {
    storage::WebhookDelivery row = delivery();
    row.attempts = attempts;
    return webhook_outcome(row, reply, 10'000, 0).row;
  };
  const auto delivered = after({.status = 204, .retry_after = {}, .failure = {}});
  EXPECT_EQ(delivered.state, WebhookState::Delivered);
  EXPECT_EQ(delivered.attempts, 1);
  EXPECT_EQ(delivered.next_ms, 10'000 + kWebhookKeptMs);
  EXPECT_EQ(delivered.last_error, "");
  const auto again = after({.status = 500, .retry_after = {}, .failure = {}});
  EXPECT_EQ(again.state, WebhookState::Pending);
  EXPECT_EQ(again.next_ms, 15'000);
  EXPECT_EQ(again.last_status, 500);
  EXPECT_EQ(again.last_error, "it answered 500");
  const auto silent = after({.status = 0, .retry_after = {}, .failure = "Timeout was reached"});
  EXPECT_EQ(silent.last_error, "Timeout was reached");
  const auto dead = after({.status = 500, .retry_after = {}, .failure = {}}, 9);
  EXPECT_EQ(dead.state, WebhookState::Dead);
  EXPECT_EQ(dead.attempts, 10);
  EXPECT_EQ(after({.status = 302, .retry_after = {}, .failure = {}}).last_error,
            "it answered 302, and redirects are not followed");
  EXPECT_EQ(after({.status = 410, .retry_after = {}, .failure = {}}).state, WebhookState::Dead);
}

}  // namespace
}  // namespace glowplug::queue
